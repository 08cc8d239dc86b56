"""python -m tools.leakage: what a released separator finds in the stems of a folder of songs."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor

from mss.core import registry
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate
from mss.release.export import export_model
from tools.leakage import main

RATE = 8000
STEMS = ("drums", "bass", "vocals")  # the order in which a data set gives them


class Signs(Separator):
    """Two sources: a gain times the samples above zero, and one times those below."""

    Config = SeparatorConfig

    def __init__(self, config: SeparatorConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.gains = torch.nn.Parameter(torch.tensor([0.5, 0.25]))

    def analyse(self, mix: Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        parts = torch.stack([inputs[0].clamp_min(0), inputs[0].clamp_max(0)], dim=1)
        return (parts * self.gains[:, None, None],)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        del features
        return Estimate(outputs[0])

    @classmethod
    def tiny(cls, spec: AudioSpec) -> "Signs":
        return cls(SeparatorConfig(), spec)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repo with one model, of vocals and drums."""
    monkeypatch.setitem(registry.BUILTIN["model"], "signs", f"{Signs.__module__}:Signs")
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))
    model = Signs.tiny(AudioSpec(("vocals", "drums"), RATE, channels=1))
    export_model(model, tmp_path / "repo", arch="signs", signature="aaaa1111")
    return tmp_path / "repo"


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Vocals are above zero and drums below but for a bleed of 1/10; "two" has no bass."""
    generator = torch.Generator().manual_seed(0)
    for name in ("one", "two"):
        folder = tmp_path / "songs" / "test" / name
        folder.mkdir(parents=True)
        # half a second above zero, half a second below
        halves = torch.rand(RATE, generator=generator) + 0.1
        halves[RATE // 2 :] *= -1
        bleed = 0.1 if name == "one" else 0.01
        waves = {
            "vocals": torch.where(halves > 0, halves, bleed * halves),
            "drums": torch.where(halves < 0, halves, bleed * halves),
            "bass": halves if name == "one" else torch.zeros(RATE),
        }
        for stem, wave in waves.items():
            soundfile.write(folder / f"{stem}.wav", 0.5 * wave.numpy(), RATE, subtype="FLOAT")
    return tmp_path / "songs"


def command(repo: Path, songs: Path, *more: str) -> list[str]:
    data = ["dset=folder", f"dset.root={songs}", "dset.channels=1", f"dset.samplerate={RATE}"]
    out = str(repo.parent / "leakage")
    return ["--repo", str(repo), "-n", "aaaa", "-o", out, *data, "misc.device=cpu", *more]


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def expected_levels(songs: Path, song: str, stem: str) -> dict[str, float]:
    """The energies of the parts, computed here."""
    wave, _ = soundfile.read(songs / "test" / song / f"{stem}.wav")
    vocals, drums = 0.5 * wave.clip(min=0), 0.25 * wave.clip(max=0)
    parts = {"vocals": vocals, "drums": drums, "unexplained": wave - vocals - drums}
    ratios = {part: (values**2).sum() / (wave**2).sum() for part, values in parts.items()}
    return {part: float(10 * torch.log10(torch.tensor(r))) for part, r in ratios.items()}


def test_the_view(repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(repo, songs, "test.batch_size=2")) == 0
    name = next(repo.glob("signs-aaaa1111-*.safetensors")).stem
    folder = repo.parent / "leakage" / name / "folder-test"

    of_songs = read_csv(folder / "songs.csv")
    assert len(of_songs) == 5 * 3  # the silent stem has no rows
    levels: dict[tuple[str, str], dict[str, float]] = {}
    for row in of_songs:
        levels.setdefault((row["track"], row["stem"]), {})[row["part"]] = float(row["level_db"])
    assert ("two", "bass") not in levels
    for (song, stem), found in levels.items():
        assert found == pytest.approx(expected_levels(songs, song, stem), abs=1e-3)
    assert levels["one", "vocals"]["vocals"] == pytest.approx(-6.02, abs=0.2)

    table = {row["stem"]: row for row in read_csv(folder / "leakage.csv")}
    assert list(table) == list(STEMS)
    shares = [10 ** (levels[song, "drums"]["vocals"] / 10) for song in ("one", "two")]
    middle = 10 * torch.log10(torch.tensor(sum(shares) / 2)).item()
    assert float(table["drums"]["vocals"]) == pytest.approx(middle, abs=1e-4)
    assert (table["bass"]["songs"], table["bass"]["silent"]) == ("1", "1")
    assert (table["drums"]["songs"], table["drums"]["silent"]) == ("2", "0")

    content: dict[str, Any] = json.loads((folder / "leakage.json").read_text())
    system = content["system"]
    assert (system["name"], system["device"], system["batch_size"]) == (name, "cpu", 2)
    assert system["inference"]["overlap"] == 0.25
    assert len(content["fingerprint"]) == 64
    assert content["songs"][0]["track"] == "one"
    drums = next(row for row in content["stems"] if row["stem"] == "drums")
    assert drums["median"]["vocals"] == pytest.approx(middle, abs=1e-4)
    assert (folder / "leakage.png").read_bytes().startswith(b"\x89PNG")

    printed = capsys.readouterr().out
    assert f"What {name} finds in the stems of 2 songs of folder (test)" in printed
    assert "bass: silent in 1 of 2 songs, left out there" in printed
    # bass has no source among the model's, so whatever is found in it does not belong there
    listed = printed.split("song by song:\n")[1].splitlines()[:6]
    words = [line.split() for line in listed]
    assert [(row[3], row[6], row[8]) for row in words] == [
        ("vocals", "bass", "one"),
        ("drums", "bass", "one"),
        ("vocals", "drums", "one"),
        ("drums", "vocals", "one"),
        ("vocals", "drums", "two"),
        ("drums", "vocals", "two"),
    ]
    shown = [float(row[0]) for row in words]
    assert shown == sorted(shown, reverse=True)


def test_stems_that_make_up_a_source_are_its_own(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapped = ["+targets.vocals=[vocals]", "+targets.drums=[drums,bass]"]
    assert main(command(repo, songs, *mapped)) == 0
    printed = capsys.readouterr().out
    assert "of drums in the bass" not in printed
    assert "of vocals in the bass of one" in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["dset.rot=1"], "dset.rot: there is no such key"),
        (["test.split=train"], "train"),
        (["test.shifts=2"], "test.shifts=2: stems are separated unshifted"),
        (["-n", "zzzz"], "there is no model 'zzzz'"),
    ],
)
def test_mistakes_are_one_message(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(command(repo, songs, *more)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("leakage: ")
    assert message in captured.err
    assert captured.out == ""


def test_help_needs_no_training_packages(repository: Path) -> None:
    code = (
        "import sys; from tools.leakage import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'hydra', 'dora', 'matplotlib'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "python -m tools.leakage" in run.stdout
