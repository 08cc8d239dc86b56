"""python -m tools.presence: from labelled songs to silence.json beside recordings."""

import json
import subprocess
import sys

import pytest
from noisy_songs import RATE
from presence_songs import CONFIG, write_labelled, write_recording

from mss.data.silent import SilentSpan
from mss.distill.items import read_silence
from tools.presence import main

FRAMES = CONFIG.segment_frames


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Songs, recordings, and a net that was trained by the command."""
    root = tmp_path_factory.mktemp("presence")
    write_labelled(root / "songs")
    (root / "songs" / "valid").rename(root / "songs" / "test")
    for song in sorted((root / "songs" / "train").iterdir())[:2]:
        (root / "songs" / "valid").mkdir(exist_ok=True)
        song.rename(root / "songs" / "valid" / song.name)
    write_recording(root / "in" / "one", 6, {"drums": range(2, 5)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEMGRID_CACHE", str(root / "cache"))
        assert main(train_command(root, "--steps", "100", "seed=1")) == 0
    return root


@pytest.fixture(autouse=True)
def _own_cache(place, monkeypatch):
    monkeypatch.setenv("STEMGRID_CACHE", str(place / "cache"))


def data(root):
    rate = f"dset.samplerate={RATE}"
    return ["dset=folder", f"dset.root={root / 'songs'}", rate, "dset.channels=1"]


def train_command(root, *more):
    """With options between the overrides."""
    first, *rest = data(root)
    net = str(root / "net.safetensors")
    options = ["--segment", "1", "--excerpts", "200", "--left-out", "0.4", "--batch-size", "4"]
    return ["train", first, "-o", net, *rest, *options, "misc.workers=0", "misc.device=cpu", *more]


def test_silence_is_found_in_recordings(place, capsys):
    command = ["find", "--net", str(place / "net.safetensors"), "--in", str(place / "in")]
    assert main([*command, "--device", "cpu"]) == 0
    spans = read_silence(place / "in" / "silence.json")
    assert SilentSpan("one", "drums", 2 * FRAMES, 3 * FRAMES) in spans
    assert {span.stem for span in spans} == {"drums"}
    printed = capsys.readouterr().out
    assert "Silent stems in 1 recordings (0.1 minutes)" in printed
    assert f"Silence: {place / 'in' / 'silence.json'}" in printed
    content = json.loads((place / "in" / "silence.json").read_text())
    assert len(content["net"]) == 64
    assert all(-60 < level <= -40 for level in content["thresholds"].values())


def test_precision_and_recall_on_a_split(place, capsys):
    net = ["--net", str(place / "net.safetensors"), "--excerpts", "150"]
    assert main(["test", *data(place), *net]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "150 excerpts of 2 songs of folder (test), 40% of the stems left out" in lines[0]
    head, rows = lines[1].split("  "), [line.split() for line in lines[2:5]]
    assert "precision" in " ".join(head)
    assert [row[0] for row in rows] == ["drums", "bass", "vocals"]
    for row in rows:
        precision, recall, auc = map(float, row[-3:])
        assert precision > 0.9 and recall > 0.2 and auc > 0.95


def test_songs_as_they_are_show_that_nothing_is_silent(place, capsys):
    net = ["--net", str(place / "net.safetensors")]
    assert main(["test", *data(place), *net, "--left-out", "0", "--excerpts", "20"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [row[2] for row in rows] == ["0", "0", "0"]  # silent


def test_a_training_tells_its_thresholds_and_what_is_to_be_doubted(place, capsys):
    out = ["-o", str(place / "short.safetensors"), "--steps", "1", "--batch-size", "1"]
    assert main([*train_command(place), *out, "--excerpts", "20"]) == 0
    printed = capsys.readouterr().out
    assert "Silence below -40 dB in 20 excerpts of 2 songs of folder (valid)" in printed
    assert "vocals: is never called silent" in printed
    assert "it takes 59 calls without a mistake" in printed
    assert "the thresholds rest on 2 songs" in printed
    find = ["find", "--net", str(place / "short.safetensors"), "--in", str(place / "in")]
    assert main([*find, "--device", "cpu"]) == 1
    assert "has no threshold for any stem" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-o", "net.pt"], "-o: net.pt is no name of a net"),
        (["dset.rot=1"], "dset.rot: there is no such key"),
        (["--left-out", "1.5"], "presence.left_out: "),
        (["--silence", "-60"], "silence: -60 dB is not above -60 dB"),
        (["--steps", "0"], "presence.steps: "),
    ],
)
def test_mistakes_in_a_training_are_one_message(place, capsys, more, message):
    assert main([*train_command(place), *more]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("presence: ")
    assert message in captured.err
    assert captured.out == ""


def test_a_net_of_other_stems_is_refused(place, capsys):
    stems = "dset.stems=[drums,bass]"
    assert main(["test", *data(place), stems, "--net", str(place / "net.safetensors")]) == 1
    assert "stems: drums, bass, and the presence net has" in capsys.readouterr().err


def test_recordings_that_are_not_there_are_one_message(place, capsys, tmp_path):
    net = str(place / "net.safetensors")
    assert main(["find", "--net", net, "--in", str(tmp_path), "--device", "cpu"]) == 1
    assert "there are no recordings" in capsys.readouterr().err
    assert main(["find", "--net", "none", "--in", str(tmp_path), "--device", "cpu"]) == 1
    assert "none: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["train"], ["test"], ["find"]])
def test_help_needs_no_training_packages(repository, command):
    code = (
        "import sys; from tools.presence import main\n"
        f"try: main([*{command!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'hydra', 'dora', 'scipy'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert " ".join(["python -m tools.presence", *command]) in run.stdout
