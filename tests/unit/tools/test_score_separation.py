"""python -m tools.score_separation: scores of one file, of the model's stems or of given ones."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from signs_release import RATE, release_signs

from mss.distill.quality.regressor import RidgeRegressor
from tools.score_separation import main

SCORES = ("residual", "agreement", "reseparation", "leakage", "remix", "envelopes", "energy")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """2.3 s, at first mostly above zero."""
    generator = torch.Generator().manual_seed(0)
    wave = 0.2 * torch.randn(int(2.3 * RATE), generator=generator)
    wave[:RATE] = wave[:RATE].abs() - 0.01
    soundfile.write(tmp_path / "song.flac", wave.numpy(), RATE)
    return tmp_path / "song.flac"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    release_signs(tmp_path / "repo", monkeypatch, "aaaa1111", (1.0, 1.0))
    release_signs(tmp_path / "repo", monkeypatch, "bbbb2222", (0.8, 1.0))
    return tmp_path / "repo"


def run(song: Path, repo: Path, *more: str) -> dict[str, Any]:
    command = [str(song), "--repo", str(repo), "-n", "aaaa", "--segment", "1", "--device", "cpu"]
    assert main([*command, "-o", "scores.json", *more]) == 0
    content: dict[str, Any] = json.loads(Path("scores.json").read_text())
    return content


def test_every_segment_and_source(
    song: Path, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = run(song, repo)
    assert [(row["start"], row["seconds"]) for row in content["segments"]] == [(0, 1), (1, 1.3)]
    assert tuple(content["definitions"]) == SCORES
    wave = torch.from_numpy(soundfile.read(song)[0])
    for row in (*content["segments"], content["whole"]):
        start, stop = (round(at * RATE) for at in (row["start"], row["start"] + row["seconds"]))
        part = wave[start:stop]
        assert tuple(row["scores"]) == SCORES
        share = part.clamp_min(0).square().sum() / part.square().sum()
        assert row["scores"]["energy"]["vocals"] == pytest.approx(10 * math.log10(share), abs=1e-3)
        assert row["scores"]["residual"]["drums"] == 120
        assert row["scores"]["reseparation"]["vocals"] == 120
    # it is normalised by nothing but the sign: a turned polarity changes places
    assert content["whole"]["scores"]["agreement"]["vocals"] < 30
    printed = capsys.readouterr().out
    assert "song.flac by signs-aaaa1111" in printed and "the whole recording" in printed
    assert "agreement [dB]" in printed and "tools.validate_score" in printed
    assert content["file"] == "song.flac"


def test_a_mixture_is_called_by_its_song(song: Path, repo: Path) -> None:
    for name in ("one", "two"):
        Path(name).mkdir()
        (Path(name) / "mixture.flac").symlink_to(song)
        file = f"{name}/mixture.flac"
        assert main([file, "--repo", str(repo), "-n", "aaaa", "--scores", "energy"]) == 0
    found = sorted(str(path) for path in Path().glob("*.json"))
    assert found == ["one.quality.json", "two.quality.json"]


def test_a_second_model(song: Path, repo: Path) -> None:
    content = run(song, repo, "--second", "bbbb", "--scores", "model_agreement,energy")
    # x and 0.8 x around 0.9 x; the same drums
    found = content["whole"]["scores"]["model_agreement"]
    assert found["vocals"] == pytest.approx(20 * math.log10(9), abs=1e-3)
    assert found["drums"] == 120
    assert "both signs" in content["notes"][0]
    assert content["second"].startswith("signs-bbbb2222")


def test_stems_that_are_given_are_judged(song: Path, repo: Path, tmp_path: Path) -> None:
    wave, _ = soundfile.read(song, dtype="float32")
    folder = tmp_path / "stems"
    folder.mkdir()
    soundfile.write(folder / "vocals.wav", 0.9 * wave, RATE, subtype="FLOAT")
    # a little longer, as a lossy format's decoder would give it
    padded = torch.nn.functional.pad(torch.zeros(len(wave)), (0, 100)).numpy()
    soundfile.write(folder / "drums.flac", padded, RATE)
    content = run(song, repo, "--estimates", str(folder))
    assert content["estimates"] == "given"
    for row in content["segments"]:
        assert row["scores"]["residual"]["vocals"] == pytest.approx(20, abs=1e-2)
        assert row["scores"]["energy"]["drums"] == -120
        assert row["scores"]["reseparation"]["drums"] is None
    content = run(song, repo, "--estimates", str(folder), "--partial")
    assert "residual" not in content["definitions"]


def test_a_regressor_expects_an_sdr_and_gives_weights(song: Path, repo: Path) -> None:
    ridge = RidgeRegressor(
        ("energy",), (-20.0,), (0.0,), (0.0,), (1.0,), (1.0,), {"vocals": 6.0, "drums": 60.0}, 0.0
    )
    ridge.save("ridge.json")
    content = run(song, repo, "--scores", "energy", "--regressor", "ridge.json")
    for row in content["segments"]:
        energy = row["scores"]["energy"]["vocals"]
        assert row["sdr"]["vocals"] == pytest.approx(6 + energy)
        assert row["weight"]["vocals"] == pytest.approx(max(0.0, (3 + energy) / 6))
        assert row["weight"]["drums"] == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-n", "zzzz"], "there is no model 'zzzz'"),
        (["--scores", "agrement"], "Did you mean 'agreement'"),
        (["--segment", "0"], "segment: can't judge by 0 s"),
        (["--estimates", "."], "holds no vocals.wav"),
        (["--regressor", "none.json"], "none.json: can't be read"),
        (["-o", "."], "is a folder, not a file. Give another -o."),
        (["-o", "song.flac/scores.json"], "song.flac: is a file, not a folder. Give another -o."),
    ],
)
def test_mistakes_are_one_message(
    song: Path, repo: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main([str(song), "--repo", str(repo), "-n", "aaaa", "--device", "cpu", *more]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("score_separation: ") and message in captured.err
    assert captured.out == "" and not list(Path().glob("*quality.json"))


def test_stems_of_another_song_are_refused(
    song: Path, repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("vocals", "drums"):
        soundfile.write(tmp_path / f"{name}.wav", torch.zeros(RATE).numpy(), RATE)
    command = [str(song), "--repo", str(repo), "-n", "aaaa", "--estimates", str(tmp_path)]
    assert main(command) == 1
    assert "has 8000 samples, the song 18400" in capsys.readouterr().err


def test_help_needs_no_torch(repository: Path) -> None:
    code = (
        "import sys; from tools.score_separation import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'hydra', 'dora', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "python -m tools.score_separation" in done.stdout
