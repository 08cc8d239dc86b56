"""python -m tools.plant_noise: a noisy copy of a clean set."""

from pathlib import Path

import pytest
from noisy_songs import STEMS, write_songs

from mss.data.noise_manifest import read_manifest
from mss.data.noise_truth import read_truth
from tools.plant_noise import main


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_songs(tmp_path / "clean", 6, seconds=0.1)


def command(clean: Path, *more: str) -> list[str]:
    return ["--in", str(clean), "--out", str(clean.parent / "noisy"), *more]


def test_it_plants_and_tells(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--swaps", "0.5", "--bleed", "0.34", "--bleed-db", "-6", "--seed", "3"]
    assert main(command(clean, *more)) == 0
    noisy = clean.parent / "noisy"
    truth = read_truth(noisy / "truth.json")
    assert truth.stems == STEMS
    assert truth.settings == {"swaps": 0.5, "bleed": 0.34, "bleed_db": -6.0, "seed": 3}
    labels = read_manifest(noisy / "manifest.csv").songs
    assert sum(label.clean for label in labels.values()) == 1
    printed = capsys.readouterr().out
    assert "6 training songs, 3 with swapped stems, 2 with bleed" in printed


def test_a_demo_set_is_made_by_its_name(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def make(size: str) -> Path:
        asked.append(size)
        return clean

    monkeypatch.setattr("mss.data.synth.demo.ensure_demo_dataset", make)
    monkeypatch.chdir(tmp_path)
    call = ["--in", "demo_large", "--out", str(tmp_path / "noisy"), "--swaps", "0.5"]
    assert main(call) == 0
    assert asked == ["demo_large"]
    (tmp_path / "demo").mkdir()  # a folder of this name is meant where there is one
    assert main(["--in", "demo", "--out", str(tmp_path / "more"), "--swaps", "0.5"]) == 1
    assert asked == ["demo_large"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "together more than 0 and at most 1"),
        (["--swaps", "2"], "--swaps: 2.0 is no share"),
        (["--bleed", "0.5", "--bleed-db", "3"], "--bleed-db: 3.0 is no attenuation"),
        (["--in", "nowhere", "--swaps", "0.5"], "nowhere: there is no such folder"),
    ],
)
def test_faults_are_told(
    clean: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(command(clean, *more)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("plant_noise: ")
    assert message in captured.err
    assert not (clean.parent / "noisy").exists()
