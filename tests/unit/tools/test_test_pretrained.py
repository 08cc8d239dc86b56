"""python -m tools.test_pretrained: released models on a folder of songs."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from torch import Tensor

from mss.core import registry
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate
from mss.metrics.energy import NSDR, do_nothing
from mss.release.export import export_model
from tools.test_pretrained import main

RATE = 8000
STEMS = ("bass", "drums", "vocals")


class Gains(Separator):
    """Each source is the mixture at a gain of its own."""

    Config = SeparatorConfig

    def __init__(self, config: SeparatorConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.gains = torch.nn.Parameter(torch.full((len(spec.sources),), 0.5))

    def analyse(self, mix: Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (inputs[0][:, None] * self.gains[:, None, None],)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        del features
        return Estimate(outputs[0])

    @classmethod
    def tiny(cls, spec: AudioSpec) -> "Gains":
        return cls(SeparatorConfig(), spec)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repo with models of two, of other and of three sources, and an empty cache."""
    monkeypatch.setitem(registry.BUILTIN["model"], "gains", f"{Gains.__module__}:Gains")
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "repo"
    for signature, sources, gains in (
        ("aaaa1111", ("vocals", "bass"), (0.5, 0.25)),
        ("bbbb2222", ("vocals", "accompaniment"), (0.5, 0.5)),
        ("cccc3333", ("vocals", "bass"), (0.75, 0.5)),
    ):
        model = Gains.tiny(AudioSpec(sources, RATE, channels=1))
        model.load_state_dict({"gains": torch.tensor(gains)})
        export_model(model, root, arch="gains", signature=signature)
    return root


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A folder with two test songs, of which "quiet" has a silent bass."""
    generator = torch.Generator().manual_seed(0)
    for name in ("loud", "quiet"):
        folder = tmp_path / "songs" / "test" / name
        folder.mkdir(parents=True)
        for stem in STEMS:
            wave = 0.1 * torch.randn(3 * RATE, generator=generator)
            if (name, stem) == ("quiet", "bass"):
                wave.zero_()
            soundfile.write(folder / f"{stem}.wav", wave.numpy(), RATE, subtype="FLOAT")
    return tmp_path / "songs"


def command(repo: Path, songs: Path, name: str, *more: str) -> Sequence[str]:
    data = ["dset=folder", f"dset.root={songs}", "dset.channels=1", f"dset.samplerate={RATE}"]
    out = str(repo.parent / "results")
    return ["--repo", str(repo), "-n", name, "-o", out, *data, "misc.device=cpu", *more]


def results_of(repo: Path, system: str, metrics: str = "nsdr") -> Path:
    return repo.parent / "results" / system / "folder-test" / metrics


def full_name(repo: Path, signature: str) -> str:
    return next(repo.glob(f"gains-{signature}-*.safetensors")).stem


def read_song(songs: Path, name: str) -> dict[str, Tensor]:
    return {
        stem: torch.from_numpy(soundfile.read(songs / "test" / name / f"{stem}.wav")[0])[None]
        for stem in STEMS
    }


def expected_scores(
    songs: Path, song: str, gains: dict[str, float]
) -> dict[str, tuple[float, ...]]:
    """Return nSDR and the score of doing nothing, computed here."""
    waves = read_song(songs, song)
    mixture = torch.stack(list(waves.values())).sum(dim=0)
    scores = {}
    for source, gain in gains.items():
        reference = waves[source][None]
        model = NSDR()(reference, gain * mixture[None], RATE).item()
        scores[source] = model, NSDR()(reference, do_nothing(reference, mixture), RATE).item()
    return scores


def test_scores_of_a_model_with_fewer_sources_than_stems(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(repo, songs, "aaaa")) == 0
    name = full_name(repo, "aaaa1111")
    folder = results_of(repo, name)
    summary = json.loads((folder / "summary.json").read_text())
    loud = expected_scores(songs, "loud", {"vocals": 0.5, "bass": 0.25})
    quiet = expected_scores(songs, "quiet", {"vocals": 0.5})
    rows = summary["scores"]["nsdr"]["sources"]
    assert list(rows) == ["vocals", "bass"]  # in the model's order
    # the model works in float32 on a mixture rounded to float32
    assert rows["bass"]["score"] == pytest.approx(loud["bass"][0], abs=1e-4)
    assert rows["bass"]["tracks"] == 1
    assert rows["bass"]["undefined"] == 1
    for column, key in enumerate(("score", "do_nothing")):
        mean = (loud["vocals"][column] + quiet["vocals"][column]) / 2
        assert rows["vocals"][key] == pytest.approx(mean, abs=1e-4)
    assert summary["silence"]["bass"]["tracks"] == 1
    assert math.isclose(summary["silence"]["bass"]["leakage"], -20 * math.log10(4), abs_tol=1e-4)
    assert summary["protocol"]["targets"] == {"vocals": ["vocals"], "bass": ["bass"]}
    assert summary["system"]["name"] == name
    of_song = json.loads((folder / "tracks" / "quiet.json").read_text())
    assert of_song["scores"]["nsdr"]["bass"] is None
    assert sorted(path.name for path in (folder / "tracks").iterdir()) == [
        "loud.json",
        "quiet.json",
    ]

    output = capsys.readouterr().out
    assert output.startswith(f"{name} on 2 songs of folder (test)")
    assert f"{rows['vocals']['score']:.2f}" in output
    assert f"{rows['vocals']['difference']:+.2f}" in output


def test_sources_that_are_sums_of_stems(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(repo, songs, "bbbb2222")) == 1
    error = capsys.readouterr().err
    assert error.startswith("test_pretrained: targets: gains-bbbb2222")
    assert "accompaniment" in error
    assert "+targets.accompaniment=" in error
    assert not (repo.parent / "results").exists()

    mapped = ["+targets.vocals=[vocals]", "+targets.accompaniment=[drums,bass]"]
    assert main(command(repo, songs, "bbbb2222", *mapped)) == 0
    results = results_of(repo, full_name(repo, "bbbb2222"))
    row = json.loads((results / "tracks" / "loud.json").read_text())["scores"]["nsdr"]
    waves = read_song(songs, "loud")
    mixture = torch.stack(list(waves.values())).sum(dim=0)
    reference = (waves["drums"] + waves["bass"])[None]
    expected = NSDR()(reference, 0.5 * mixture[None], RATE).item()
    assert row["accompaniment"] == pytest.approx(expected, abs=1e-4)


def test_a_bag_is_scored_as_one(repo: Path, songs: Path) -> None:
    members = [full_name(repo, "aaaa1111"), full_name(repo, "cccc3333")]
    recipe = {"members": members, "weights": {"vocals": [1, 1], "bass": [1, 0]}}
    (repo / "both.yaml").write_text(yaml.safe_dump(recipe))
    assert main(command(repo, songs, "both")) == 0
    track = results_of(repo, "both") / "tracks" / "loud.json"
    row = json.loads(track.read_text())["scores"]["nsdr"]
    # vocals: the mean of 0.5 and 0.75; bass: the first model's alone
    expected = expected_scores(songs, "loud", {"vocals": 0.625, "bass": 0.25})
    assert row == pytest.approx({name: pair[0] for name, pair in expected.items()}, abs=1e-4)
    assert main([*command(repo, songs, "both"), "--record"]) == 1


@pytest.mark.parametrize(
    ("choice", "kind", "names"),
    [
        ("museval", "bsseval", ("csdr", "isr", "sir", "sar")),
        (
            "museval_reference",
            "museval",
            tuple(f"museval_{n}" for n in ("sdr", "isr", "sir", "sar")),
        ),
        ("csdr", "csdr", ("csdr",)),
    ],
)
def test_framewise_scores_beside_nsdr(
    repo: Path, songs: Path, choice: str, kind: str, names: tuple[str, ...]
) -> None:
    assert main(command(repo, songs, "aaaa", f"test={choice}")) == 0
    folder = results_of(repo, full_name(repo, "aaaa1111"), f"nsdr+{kind}")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    assert list(summary["scores"]) == ["nsdr", *names]
    for row in summary["scores"][names[0]]["sources"].values():
        assert row["tracks"] == 1  # the song with the silent bass has no frame of this protocol
        assert math.isfinite(row["score"])
    # frames of one second of white noise have nearly the whole song's ratio
    of_song = json.loads((folder / "tracks" / "loud.json").read_text())
    assert of_song["frames"][names[0]] == {"used": 3, "total": 3}
    scores = of_song["scores"]
    assert scores[names[0]] == pytest.approx(scores["nsdr"], abs=0.3)
    in_musevals_layout = [path.parents[1].name for path in folder.glob("*/test/loud.json")]
    expected = {"bsseval": ["museval"], "museval": ["museval_reference"], "csdr": []}
    assert in_musevals_layout == expected[kind]


def test_chosen_targets_may_be_fewer_than_the_models(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So a model of all sources can be compared with one of the vocals alone."""
    assert main(command(repo, songs, "aaaa", "targets=vocals")) == 0
    folder = results_of(repo, full_name(repo, "aaaa1111"))
    summary = json.loads((folder / "summary.json").read_text())
    gains = [expected_scores(songs, name, {"vocals": 0.5})["vocals"] for name in ("loud", "quiet")]
    rows = summary["scores"]["nsdr"]["sources"]
    assert list(rows) == ["vocals"]
    assert rows["vocals"]["score"] == pytest.approx((gains[0][0] + gains[1][0]) / 2, abs=1e-4)
    capsys.readouterr()
    assert main(command(repo, songs, "aaaa", "+targets.drums=[drums]")) == 1
    assert "separates vocals, bass, but nothing says" in capsys.readouterr().err


def test_a_bag_of_other_weights_is_another_system(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = [full_name(repo, "aaaa1111"), full_name(repo, "cccc3333")]
    for weights, status in (([1, 0], 0), ([0, 1], 1)):
        recipe = {"members": members, "weights": {"vocals": weights, "bass": weights}}
        (repo / "both.yaml").write_text(yaml.safe_dump(recipe))
        assert main(command(repo, songs, "both")) == status
    assert "system.weights was" in capsys.readouterr().err


def test_shifts_are_seeded(repo: Path, songs: Path) -> None:
    def scores(out: str, *more: str) -> Any:
        arguments = [*command(repo, songs, "aaaa", *more), "-o", str(repo.parent / out)]
        assert main(arguments) == 0
        return json.loads(next((repo.parent / out).rglob("summary.json")).read_text())

    once, again = scores("a", "test.shifts=3"), scores("b", "test.shifts=3")
    assert once == again
    assert once["system"]["shifts"] == 3
    # a gain does not care where a chunk begins: the silence before the song is taken off again
    plain = scores("c")
    score = plain["scores"]["nsdr"]["sources"]["vocals"]["score"]
    shifted = once["scores"]["nsdr"]["sources"]["vocals"]["score"]
    assert shifted == pytest.approx(score, abs=1e-4)


def test_it_goes_on_with_the_next_song(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(repo, songs, "aaaa")) == 0
    folder = results_of(repo, full_name(repo, "aaaa1111"))
    before = (folder / "summary.json").read_bytes()
    (folder / "tracks" / "quiet.json").unlink()
    loud = folder / "tracks" / "loud.json"
    kept = loud.stat().st_mtime_ns
    assert main(command(repo, songs, "aaaa")) == 0
    assert loud.stat().st_mtime_ns == kept
    assert (folder / "summary.json").read_bytes() == before
    capsys.readouterr()
    assert main(command(repo, songs, "aaaa", "test.shifts=1")) == 1
    assert "system.shifts was 0, is 1" in capsys.readouterr().err
    assert main([*command(repo, songs, "aaaa", "test.shifts=1"), "--anew"]) == 0


def test_stems_that_were_separated_elsewhere(
    repo: Path, songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same scores as those of the model whose stems they are."""
    assert main(command(repo, songs, "aaaa")) == 0
    name = full_name(repo, "aaaa1111")
    gains = {"vocals": 0.5, "bass": 0.25}
    for song in ("loud", "quiet"):
        mixture = torch.stack(list(read_song(songs, song).values())).sum(dim=0)
        for source, gain in gains.items():
            path = tmp_path / "stems" / song / f"{source}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, (gain * mixture[0]).numpy(), RATE, subtype="FLOAT")
    arguments = [*command(repo, songs, "aaaa")[4:], "--estimates", str(tmp_path / "stems")]
    capsys.readouterr()
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert output.startswith("stems (separated elsewhere) on 2 songs of folder (test)")
    ours = json.loads((results_of(repo, name) / "summary.json").read_text())
    theirs = json.loads((results_of(repo, "stems") / "summary.json").read_text())
    for source in gains:
        score = ours["scores"]["nsdr"]["sources"][source]["score"]
        assert theirs["scores"]["nsdr"]["sources"][source]["score"] == pytest.approx(
            score, abs=1e-5
        )
    assert main([*arguments, "test.shifts=2"]) == 1
    assert "test.shifts=2: no model separates anything here" in capsys.readouterr().err
    for option in (["-n", "aaaa"], ["--record"], ["--repo", str(repo)]):
        assert main([*arguments, *option]) == 1
        assert capsys.readouterr().err.startswith(f"test_pretrained: {option[0]}: speaks of a")


def test_record_adds_the_scores_to_the_repo(repo: Path, songs: Path) -> None:
    before = {path.name: path.read_bytes() for path in repo.glob("*.safetensors")}
    assert main([*command(repo, songs, "aaaa"), "--record"]) == 0
    index = json.loads((repo / "index.json").read_text())
    entry = next(entry for entry in index["models"] if entry["signature"] == "aaaa1111")
    (protocol,) = entry["scores"]
    assert protocol.startswith("nsdr/folder/test@")
    assert set(entry["scores"][protocol]) == {"vocals", "bass", "mean"}
    assert protocol in (repo / f"{entry['name']}.md").read_text()
    assert {path.name: path.read_bytes() for path in repo.glob("*.safetensors")} == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["test.metrcs=1"], "test.metrcs: there is no such key"),
        (["test=fat"], "test=fat: no such choice. Did you mean 'fast'?"),
        (["+test.metrics.nsd={}"], "there is no metric named 'nsd'. Did you mean 'nsdr'?"),
        (["test.split=tset"], "test.split"),
        (["test.split=train"], "train"),
        (["dset.root=/nonexistent"], "/nonexistent"),
    ],
)
def test_mistakes_are_one_message(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(command(repo, songs, "aaaa", *more)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("test_pretrained: ")
    assert message in captured.err
    assert captured.out == ""


def test_unknown_and_missing_models(
    repo: Path, songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(repo, songs, "zzzz")) == 1
    assert "there is no model 'zzzz'" in capsys.readouterr().err
    assert main(command(repo.parent / "empty", songs, "aaaa")) == 1
    assert "no released model" in capsys.readouterr().err


def test_help_needs_no_training_packages(repository: Path) -> None:
    code = (
        "import sys; from tools.test_pretrained import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'hydra', 'dora', 'museval'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "python -m tools.test_pretrained" in run.stdout
