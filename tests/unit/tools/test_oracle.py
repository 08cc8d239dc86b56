"""python -m tools.oracle: oracles on a folder of songs, beside other systems."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from mss.eval.estimators import Song
from mss.eval.oracles import KINDS, make_oracle, make_oracles
from mss.metrics.energy import NSDR
from tools import test_pretrained
from tools.oracle import DEFAULT, main

RATE = 8000
STEMS = ("drums", "bass", "vocals")  # the order in which a data set gives them


def write_songs(root: Path, seed: int = 0) -> Path:
    """Two test songs of two seconds, of which "quiet" has a silent bass."""
    generator = torch.Generator().manual_seed(seed)
    for name in ("loud", "quiet"):
        folder = root / "test" / name
        folder.mkdir(parents=True)
        for index, stem in enumerate(STEMS):
            wave = 0.1 * torch.randn(2 * RATE, generator=generator)
            # each stem has its own times, so that masks can tell them apart
            wave *= (torch.arange(2 * RATE) // 1000 % 3 == index) + 0.1
            if (name, stem) == ("quiet", "bass"):
                wave.zero_()
            soundfile.write(folder / f"{stem}.wav", wave.numpy(), RATE, subtype="FLOAT")
    return root


@pytest.fixture
def songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))
    return write_songs(tmp_path / "songs")


def options(songs: Path, *more: str) -> list[str]:
    data = ["dset=folder", f"dset.root={songs}", "dset.channels=1", f"dset.samplerate={RATE}"]
    return ["-o", str(songs.parent / "results"), *data, "misc.device=cpu", *more]


def read_song(songs: Path, name: str, sources: Sequence[str]) -> Song:
    def read(stem: str) -> Tensor:
        wave, _ = soundfile.read(songs / "test" / name / f"{stem}.wav", dtype="float32")
        return torch.from_numpy(wave)[None]

    mixture = torch.stack([read(stem) for stem in STEMS]).sum(dim=0)
    references = torch.stack([read(source) for source in sources])
    return Song(None, mixture, references)  # type: ignore[arg-type]


def rows(printed: str) -> dict[str, list[str]]:
    """Return the words of each line that starts with a system."""
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    return {words[0]: words[1:] for words in lines if words[0].startswith(("oracle-", "stems"))}


def test_scores(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["irm2@256", "mixture", "mwf@256", *options(songs)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Oracles on 2 songs of folder (test)")
    assert "nsdr in dB, mean over songs, higher is better (nsdr/folder/test@" in printed
    assert "It bounds the methods that its label names" in printed
    table = rows(printed)
    assert list(table) == ["oracle-irm2-256", "oracle-mixture", "oracle-mwf-256"]
    assert table["oracle-irm2-256"][4:] == ["magnitude-mask", "oracle"]
    assert table["oracle-mixture"][4:] == ["no", "separation"]
    assert table["oracle-mwf-256"][4:] == ["multichannel", "oracle"]

    folder = songs.parent / "results" / "oracle-irm2-256" / "folder-test" / "nsdr"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["system"]["label"] == "magnitude-mask oracle"
    expected = []
    for name in ("loud", "quiet"):
        song = read_song(songs, name, STEMS)
        scores = NSDR()(song.references, make_oracle("irm2@256")(song), RATE)
        of_song = json.loads((folder / "tracks" / f"{name}.json").read_text())["scores"]["nsdr"]
        known = {stem: value for stem, value in of_song.items() if value is not None}
        assert known == pytest.approx(
            {stem: v for stem, v in zip(STEMS, scores.tolist(), strict=True) if v == v}, abs=1e-4
        )
        expected.append(scores)
    means = torch.stack(expected).nanmean(dim=0)  # bass: the one song that has it
    shown = [float(word) for word in table["oracle-irm2-256"][:4]]
    assert shown == pytest.approx([*means.tolist(), means.mean().item()], abs=0.006)


def test_the_other_stems_are_a_part_of_the_mixture(songs: Path) -> None:
    assert main(["irm2@256", *options(songs, "targets=vocals")]) == 0
    folder = songs.parent / "results" / "oracle-irm2-256" / "folder-test" / "nsdr"
    stored = json.loads((folder / "tracks" / "loud.json").read_text())["scores"]["nsdr"]
    song = read_song(songs, "loud", ["vocals"])
    estimates = make_oracle("irm2@256", rest=True)(song)
    expected = NSDR()(song.references, estimates, RATE).item()
    assert stored == {"vocals": pytest.approx(expected, abs=1e-4)}
    # alone in the mask, vocals would have been given the whole mixture
    assert expected > NSDR()(song.references, song.mixture[None], RATE).item() + 3


def test_beside_another_system(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    estimates = songs.parent / "stems"
    for path in songs.glob("test/*/*.wav"):
        wave, _ = soundfile.read(path, dtype="float32")
        copy = estimates / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(copy, 0.5 * wave, RATE, subtype="FLOAT")
    assert test_pretrained.main(["--estimates", str(estimates), *options(songs)]) == 0
    capsys.readouterr()

    results = songs.parent / "results" / "stems"
    assert main(["irm1", *options(songs), "--beside", str(results)]) == 0
    table = rows(capsys.readouterr().out)
    assert list(table) == ["stems", "oracle-irm1-2048"]
    # half a stem is 6.02 dB from it
    assert table["stems"] == ["6.02"] * 4 + ["separated", "elsewhere"]

    # the folder of results itself does, too
    own = results / "folder-test" / "nsdr"
    assert main(["irm1", *options(songs), "--beside", str(own)]) == 0
    assert rows(capsys.readouterr().out) == table


def test_beside_needs_the_same_protocol(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = write_songs(songs.parent / "others" / "songs", seed=1)
    assert main(["mixture", *options(others)]) == 0
    there = others.parent / "results" / "oracle-mixture"
    capsys.readouterr()

    def refused(path: Path) -> str:
        assert main(["mixture", *options(songs), "--beside", str(path)]) == 1
        return capsys.readouterr().err

    assert "other songs, other targets or another definition" in refused(there)
    assert "holds no summary.json" in refused(songs.parent / "results" / "nobody")
    for path in (there / "folder-test" / "nsdr").rglob("*.json"):  # as if of another measure
        path.write_text(path.read_text().replace('"nsdr"', '"csdr"'))
    assert "has csdr, and here is nsdr; give the same test=" in refused(there)


def test_remarks_and_missing_scores_are_told(
    songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["mixture", "irm1@256", *options(songs)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.count("nsdr of bass: 1 of 2 songs, the others have no such score") == 1

    folder = songs.parent / "results" / "oracle-mixture" / "folder-test" / "nsdr" / "tracks"
    content = json.loads((folder / "loud.json").read_text())
    content["remarks"] = ["SIR depends on rounding: by up to 3 dB"]
    (folder / "loud.json").write_text(json.dumps(content))
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if "depends on rounding" in line]
    assert told.startswith("oracle-mixture: 1 of 2 songs: SIR depends on rounding (")


def test_a_second_start_keeps_scores(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["mixture", *options(songs, "targets=vocals")]
    assert main(command) == 0
    first = rows(capsys.readouterr().out)
    folder = songs.parent / "results" / "oracle-mixture" / "folder-test" / "nsdr" / "tracks"
    for path in folder.iterdir():
        content = json.loads(path.read_text())
        content["scores"]["nsdr"]["vocals"] = 12.0
        path.write_text(json.dumps(content))
    assert main(command) == 0
    assert rows(capsys.readouterr().out)["oracle-mixture"][0] == "12.00"
    assert main([*command, "--anew"]) == 0
    assert rows(capsys.readouterr().out) == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imr2"], "there is no oracle named 'imr2'"),
        (["irm2@3"], "an even number of samples"),
        (["irm2", "dset.rot=x"], "dset.rot: there is no such key"),
        (["irm2", "test.split=train"], "train"),
    ],
)
def test_mistakes_are_one_message(
    songs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*options(songs), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("oracle: ")
    assert message in captured.err
    assert captured.out == ""


def test_defaults_are_oracles() -> None:
    assert len(make_oracles(DEFAULT)) == len(DEFAULT)
    assert {name.partition("@")[0] for name in DEFAULT} == set(KINDS)


def test_help_needs_no_training_packages(repository: Path) -> None:
    code = (
        "import sys; from tools.oracle import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'hydra', 'dora', 'museval'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    # wrapped, so that the words are all there is to look for
    assert set(KINDS) <= set(run.stdout.replace(",", " ").replace("(", " ").split())
