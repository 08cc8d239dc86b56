"""python -m tools.filter_noise: a manifest of what is clean, by released models."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from noisy_songs import RATE, STEMS, BandSplitter, write_songs

from mss.core import registry
from mss.core.types import AudioSpec
from mss.data.folds import Folds
from mss.data.noise_manifest import read_manifest
from mss.data.planting import TRUTH, Planting, plant_noise
from mss.release.export import export_model
from tools.filter_noise import main

SONGS = 8
NAMES = [f"song {index:02d}" for index in range(SONGS)]
SEED = 4


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repo with a model, and one for each of two folds, which tells what it was trained on."""
    monkeypatch.setitem(
        registry.BUILTIN["model"], "bands", f"{BandSplitter.__module__}:BandSplitter"
    )
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))
    folds = Folds(2, SEED)
    for signature, fold in (("aaaa1111", None), ("bbbb0000", 0), ("bbbb0001", 1)):
        trained = [name for name in NAMES if folds.of(name) != fold]
        export_model(
            BandSplitter.tiny(AudioSpec(STEMS, RATE, channels=1)),
            tmp_path / "repo",
            arch="bands",
            signature=signature,
            provenance={"data": {"train": {"tracks": trained}}},
        )
    assert {folds.of(name) for name in NAMES} == {0, 1}
    return tmp_path / "repo"


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Songs of which two have swapped stems, and two bleed."""
    clean = write_songs(tmp_path / "clean", SONGS)
    plant_noise(clean, tmp_path / "noisy", Planting(0.25, 0.25, bleed_db=-12), False)
    return tmp_path / "noisy"


def command(repo: Path, noisy: Path, *more: str, out: str = "found.csv") -> list[str]:
    return [
        *("--repo", str(repo), "--in", str(noisy), "--out", str(repo.parent / out)),
        *("--device", "cpu", *more),
    ]


def read_report(repo: Path, out: str = "found") -> dict[str, Any]:
    report: dict[str, Any] = json.loads((repo.parent / f"{out}.json").read_text())
    return report


def test_planted_noise_is_found(
    repo: Path, noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = str(noisy / TRUTH)
    assert main(command(repo, noisy, "-n", "aaaa", "--truth", truth)) == 0
    planted = read_manifest(noisy / "manifest.csv")
    found = read_manifest(repo.parent / "found.csv")
    assert found.songs.keys() == planted.songs.keys()
    for name in NAMES:
        assert found.songs[name].clean == planted.songs[name].clean
        assert found.noisy_stems(name, STEMS) == planted.noisy_stems(name, STEMS)

    report = read_report(repo)
    assert report["settings"]["criterion"]["noise"] == "swaps"
    assert report["settings"]["models"][0].startswith("bands-aaaa1111-")
    assert report["thresholds_db"] == dict.fromkeys(STEMS, 20.0)
    assert report["scores"]["stems"]["auc"] == 1
    assert report["scores"]["songs"]["precision"] == 1
    for name in NAMES:
        song = report["songs"][name]
        assert song["clean"] == planted.songs[name].clean
        for stem, told in song["stems"].items():
            assert told["kept"] == (stem not in planted.noisy_stems(name, STEMS))
            assert told["kept"] == (told["swap_margin_db"] > 20)

    printed = capsys.readouterr().out
    assert "4 of 8 songs of noisy are clean (swaps)" in printed
    assert "AUC" in printed and "1.000" in printed


def test_a_second_call_measures_nothing_anew(
    repo: Path, noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command(repo, noisy, "-n", "aaaa")) == 0
    first = {path.name for path in (repo.parent / "found.songs").iterdir()}
    assert first == {f"{name}.json" for name in NAMES}

    def refuse(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("mss.distill.filtering.measure_stem", refuse)
    assert main(command(repo, noisy, "-n", "aaaa", "--keep", "0.75")) == 0
    found = read_manifest(repo.parent / "found.csv").songs
    assert sum(label.clean for label in found.values()) == 6
    assert main(command(repo, noisy, "-n", "aaaa", "--criterion", "bleed", "--margin", "13")) == 0
    found = read_manifest(repo.parent / "found.csv").songs
    assert sum(label.clean for label in found.values()) == 4  # bleed at -12 dB is below 13


def test_folds_are_judged_by_who_left_them_out(repo: Path, noisy: Path) -> None:
    names = ("bbbb0000", "bbbb0001")
    call = command(repo, noisy, "--folds", *names, "--fold-seed", str(SEED))
    assert main(call) == 0
    folds = Folds(2, SEED)
    report = read_report(repo)
    assert report["settings"]["folds"] == {"count": 2, "seed": SEED}
    for name, song in report["songs"].items():
        assert song["judge"].startswith(f"bands-{names[folds.of(name)]}-")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--folds", "bbbb0001", "bbbb0000", "--fold-seed", "4"], "was trained on 'song"),
        (["--folds", "bbbb0000", "aaaa"], "was trained on 'song"),
        (["--folds", "bbbb0000"], "--folds: one model is no division"),
        (["-n", "cccc"], "there is no model 'cccc'"),
        (["-n", "aaaa", "--margin", "3", "--keep", "0.5"], "--margin, --keep"),
        (["-n", "aaaa", "--stems", "drums", "bas"], "no track has a stem 'bas'"),
        (["-n", "aaaa", "--truth", "nowhere.json"], "nowhere.json: can't be read"),
        (["-n", "aaaa", "--tempo", "9"], "--tempo: 9"),
    ],
)
def test_faults_are_told_and_leave_no_manifest(
    repo: Path, noisy: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(command(repo, noisy, *more)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("filter_noise: ")
    assert message in captured.err
    assert not (repo.parent / "found.csv").exists()
    assert not (repo.parent / "found.songs").exists()


def test_the_manifest_is_a_csv(repo: Path, noisy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(repo, noisy, "-n", "aaaa", out="found.json")) == 1
    assert "give one that ends in .csv" in capsys.readouterr().err


def test_a_model_of_other_sources_names_the_remedy(
    repo: Path, noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = BandSplitter.tiny(AudioSpec(("drums", "bass"), RATE, channels=1))
    export_model(model, repo, arch="bands", signature="dddd1111")
    assert main(command(repo, noisy, "-n", "dddd")) == 1
    assert "gives no source 'vocals'" in capsys.readouterr().err
    assert main(command(repo, noisy, "-n", "dddd", "--stems", "drums", "bass")) == 0
    assert set(read_report(repo)["songs"]["song 00"]["stems"]) == {"drums", "bass"}


def test_help_needs_no_torch(repository: Path) -> None:
    code = (
        "import sys; from tools.filter_noise import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'hydra', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "python -m tools.filter_noise" in run.stdout
