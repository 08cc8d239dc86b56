"""A presence net with its thresholds: what it calls silent, and its file."""

import json

import pytest
import torch
from presence_songs import CONFIG
from safetensors.torch import load_file, save_file

from mss.core.errors import DataError
from mss.distill.presence import (
    Calibration,
    PresenceDetector,
    calibrate,
    load_detector,
    save_detector,
)
from mss.distill.presence_mixing import Excerpts
from mss.distill.presence_thresholds import Criterion, SilenceScore, Threshold
from mss.distill.presence_training import new_net

SCORE = SilenceScore(excerpts=300, silent=80, called=70, right=69, auc=0.99)


@pytest.fixture
def detector():
    thresholds = (
        Threshold(-58.123456789012345, 0.951, SCORE),
        Threshold(None, None, SilenceScore(300, 0, 0, 0, None)),
        Threshold(-50.0, 0.96, SCORE),
    )
    calibration = Calibration(Criterion(silence_db=-45), 300, 0.1, 4)
    return PresenceDetector(
        new_net(CONFIG, 3).eval(), thresholds, calibration, {"dataset": "songs", "valid_songs": 2}
    )


@pytest.fixture
def path(detector, tmp_path):
    save_detector(detector, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_a_stem_is_silent_at_its_threshold_and_below(detector):
    told = torch.tensor([[-59, -60, -50], [-58, -60, -49.99]])
    detector.net.forward = lambda mix: told
    mix = torch.ones(2, 1, CONFIG.segment_frames)
    assert detector.silent(mix).tolist() == [[True, False, True], [False, False, False]]
    # where nothing sounds, nothing can be learned
    mix[0] = 1e-5
    assert not detector.silent(mix).any()


def test_thresholds_are_found_by_stem_from_the_true_levels():
    """Levels told are the true ones: every stem below the limit is called silent, and no other."""
    net = new_net(CONFIG, 0).eval()
    generator = torch.Generator().manual_seed(0)
    true = -60 * torch.rand(600, 3, generator=generator)
    true[:, 2] = true[:, 2].clamp_min(-30)  # never silent
    net.levels = lambda features: features[:, :, 0]
    held_out = Excerpts(true[:, :, None], true, songs=3)
    found = calibrate(net, held_out, Calibration(Criterion(silence_db=-45)))
    for stem, place in (("drums", 0), ("bass", 1)):
        level = found.levels[stem]
        score = found.thresholds[place].score
        assert (score.precision, score.recall) == (1, 1)
        assert level == true[:, place][true[:, place] < -45].max().item()
        assert found.scores(held_out)[stem] == score
    assert found.levels["vocals"] is None


def test_a_file_gives_the_same_detector(detector, path):
    loaded = load_detector(path)
    assert loaded.config == CONFIG
    assert loaded.thresholds == detector.thresholds
    assert loaded.calibration == detector.calibration
    assert loaded.facts == detector.facts
    assert not loaded.net.training
    mix = torch.randn(2, 1, CONFIG.segment_frames)
    assert torch.equal(loaded.net(mix), detector.net(mix))


def test_the_same_detector_gives_the_same_bytes(detector, path, tmp_path):
    save_detector(load_detector(path), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.safetensors: there is no such file; python -m"):
        load_detector(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 100, -10])
def test_a_truncated_file_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged, truncated or not safetensors"):
        load_detector(path)


@pytest.mark.parametrize("place", [-3, 700])
def test_a_changed_byte_is_seen(path, place):
    """In a weight, or in the header."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"net\.safetensors: (damaged|makes no|is of form)"):
        load_detector(path)


def test_a_pickle_is_not_opened(tmp_path):
    file = tmp_path / "net.safetensors"
    torch.save({"weights": torch.ones(1)}, file)
    with pytest.raises(DataError, match="damaged, truncated or not safetensors"):
        load_detector(file)


def test_another_safetensors_file_is_refused(tmp_path):
    save_file({"weights": torch.ones(1)}, tmp_path / "net.safetensors", metadata={"stemgrid": "1"})
    with pytest.raises(DataError, match="but no presence net"):
        load_detector(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"form": 2}', "is of form 2, this program reads 1"),
        ("[1]", "its header is not a mapping"),
        ("{", "damaged, truncated or not safetensors"),
    ],
)
def test_another_header_is_refused(path, header, message):
    save_file(load_file(path), path, metadata={"stemgrid_presence": header})
    with pytest.raises(DataError, match=message):
        load_detector(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config", {"stems": ["drums"], "bands": 16, "width": 4}, "makes no presence net"),
        ("config", {"stem": 1}, "makes no presence net"),
        ("thresholds", [], "makes no presence net"),
    ],
)
def test_a_header_that_does_not_fit_the_weights_is_refused(path, monkeypatch, key, value, message):
    """As of a file whose digest was made anew."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["stemgrid_presence"])
    header[key] = value
    header["content_sha256"] = "0"
    monkeypatch.setattr("mss.distill.presence._content_sha256", lambda *_: "0")
    save_file(load_file(path), path, metadata={"stemgrid_presence": json.dumps(header)})
    with pytest.raises(DataError, match=message):
        load_detector(path)
