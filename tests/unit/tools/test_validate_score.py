"""python -m tools.validate_score: labelled songs, a report, and a start that goes on."""

import csv
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
from mss.metrics.energy import NSDR
from tools.validate_score import main

SONGS = 7


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Vocals above zero, drums below, each with a share of the other's sign that varies by second;
    the last song has silent drums in its last second."""
    generator = torch.Generator().manual_seed(0)
    for index in range(SONGS):
        folder = tmp_path / "songs" / "test" / f"song {index}"
        folder.mkdir(parents=True)
        waves = {}
        for stem, sign in (("vocals", 1.0), ("drums", -1.0)):
            noise = 0.2 * torch.rand(4 * RATE, generator=generator)
            wrong = torch.rand(4, generator=generator).repeat_interleave(RATE) / 2
            flips = torch.rand(4 * RATE, generator=generator) < wrong
            waves[stem] = sign * torch.where(flips, -noise, noise)
            # one plays at a time
            turn = (torch.arange(4 * RATE) // 100 % 2 == 0) == (sign > 0)
            waves[stem] = waves[stem] * turn
        if index == SONGS - 1:
            waves["drums"][3 * RATE :] = 0
        for stem, wave in waves.items():
            soundfile.write(folder / f"{stem}.wav", wave.numpy(), RATE, subtype="FLOAT")
    return tmp_path / "songs"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))
    release_signs(tmp_path / "repo", monkeypatch)
    return tmp_path / "repo"


def command(repo: Path, songs: Path, *more: str) -> list[str]:
    data = ["dset=folder", f"dset.root={songs}", "dset.channels=1", f"dset.samplerate={RATE}"]
    return ["--repo", str(repo), "-n", "aaaa", "--segment", "1", *data, "misc.device=cpu", *more]


def report(repo: Path, name: str = "folder-test") -> Path:
    model = next(repo.glob("signs-aaaa1111-*.safetensors")).stem
    return Path("validation") / model / name


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_the_report(repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(repo, songs, "--ridge", "known/ridge.json")) == 0
    folder = report(repo)
    content = read_json(folder / "report.json")
    assert (content["rows"], content["songs"]) == (SONGS * 8 - 1, SONGS)
    assert list(content["verdicts"]) == [
        *("residual", "agreement", "reseparation", "leakage", "remix", "envelopes", "energy"),
        *("ridge", "boosting", "shuffled"),
    ]
    assert content["verdicts"]["energy"]["answer"] == "baseline"
    assert content["verdicts"]["shuffled"]["answer"] == "no"
    # the sources add up exactly, always: there is nothing to tell
    assert "the same, or not defined" in content["verdicts"]["residual"]["sentence"]
    assert content["control_passed"] is True
    assert "drums is silent" in content["notes"][1] and "1 of 28" in content["notes"][1]
    assert "nothing is recorded of what it was trained on" in content["notes"][0]

    with open(folder / "segments.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    row = rows[3]
    assert (row["track"], row["source"], row["start"]) == ("song 0", "drums", "1.0")
    parts = {
        stem: torch.from_numpy(
            soundfile.read(songs / "test" / "song 0" / f"{stem}.wav", dtype="float32")[0]
        )[RATE : 2 * RATE]
        for stem in ("drums", "vocals")
    }
    mix = parts["drums"] + parts["vocals"]
    sdr = NSDR()(parts["drums"][None, None], mix.clamp_max(0)[None, None], RATE).item()
    assert float(row["true_sdr"]) == pytest.approx(sdr, abs=1e-3)
    level = 10 * math.log10(mix.clamp_max(0).square().sum() / mix.square().sum())
    assert float(row["energy"]) == pytest.approx(level, abs=1e-3)

    text = (folder / "report.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    for verdict in content["verdicts"].values():
        assert verdict["sentence"] in text and verdict["sentence"] in printed
    assert str(folder / "report.md") in printed
    assert RidgeRegressor.load(folder / "ridge.json").offsets.keys() == {"drums", "vocals"}
    assert Path("known/ridge.json").read_bytes() == (folder / "ridge.json").read_bytes()


def test_a_second_start_separates_nothing_again(
    repo: Path, songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("--scores", "energy,envelopes", "--no-regressors")
    assert main(command(repo, songs, *small, "--tracks", "song 0,song 1,song 2")) == 0
    first = read_json(report(repo) / "report.json")

    scored = []
    from mss.distill.quality import labelled

    real = labelled.score_labelled

    def spy(track: Any, *args: Any) -> Any:
        scored.append(track.name)
        return real(track, *args)

    monkeypatch.setattr(labelled, "score_labelled", spy)
    assert main(command(repo, songs, *small)) == 0
    assert scored == [f"song {index}" for index in range(3, SONGS)]
    content = read_json(report(repo) / "report.json")
    assert first["tracks"] == {"test": ["song 0", "song 1", "song 2"]}
    assert len(content["tracks"]["test"]) == content["songs"] == SONGS
    assert first["verdicts"]["envelopes"]["answer"] == "too few songs"
    assert not (report(repo) / "ridge.json").exists()


def test_other_settings_need_another_folder(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--scores", "energy", "--no-regressors", "--tracks", "song 0")
    assert main(command(repo, songs, *small)) == 0
    assert main(command(repo, songs, *small, "--limit-seconds", "2")) == 1
    assert "scored otherwise (limit_seconds)" in capsys.readouterr().err
    assert main(command(repo, songs, *small, "--limit-seconds", "2", "--anew")) == 0
    starts = {
        row.split(",")[2] for row in (report(repo) / "segments.csv").read_text().splitlines()[1:]
    }
    assert starts == {"1.0", "2.0"}  # the middle


def test_songs_of_the_training_are_refused(
    tmp_path: Path,
    songs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))
    seen = {"name": "folder", "fingerprint": "-", "tracks": ["song 3"]}
    release_signs(tmp_path / "repo", monkeypatch, provenance={"data": {"train": seen}})
    assert main(command(tmp_path / "repo", songs)) == 1
    assert "was trained on songs of folder (train), such as 'song 3'" in capsys.readouterr().err
    assert (
        main(command(tmp_path / "repo", songs, "--tracks", "song 1,song 2", "--scores=energy")) == 0
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["dset.rot=1"], "dset.rot: there is no such key"),
        (["test.shifts=2"], "test.shifts=2: the scores draw shifts of their own"),
        (["--tracks", "song 9"], "--tracks: there is no 'song 9'. Did you mean"),
        (["--splits", "train"], "train"),
        (["--limit-seconds", "0"], "--limit-seconds: 0 s; give more than 0"),
        (["--scores", "agrement"], "Did you mean 'agreement'"),
        (["-n", "zzzz"], "there is no model 'zzzz'"),
    ],
)
def test_mistakes_are_one_message(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(command(repo, songs, *more)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("validate_score: ") and message in captured.err
    assert captured.out == "" and not Path("validation").exists()


def test_help_needs_no_training_packages(repository: Path) -> None:
    code = (
        "import sys; from tools.validate_score import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'hydra', 'dora', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "python -m tools.validate_score" in done.stdout
