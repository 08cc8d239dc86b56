"""python -m tools.export: one run, one file, one message when it fails."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate
from mss.release.package import load_package
from mss.solver.checkpoint import save_checkpoint
from mss.solver.resume import CONTENT
from tools.export import main


class Halver(Separator):
    """One source: the mixture at a learned gain."""

    Config = SeparatorConfig

    def __init__(self, config: SeparatorConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.gain = torch.nn.Parameter(torch.tensor([0.25]))

    def analyse(self, mix: torch.Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (inputs[0] * self.gain,)

    def synthesise(self, features: Features, outputs: tuple[torch.Tensor, ...]) -> Estimate:
        del features
        return Estimate(outputs[0][:, None])  # [B, C, T] -> [B, S=1, C, T]

    @classmethod
    def tiny(cls, spec: AudioSpec) -> "Halver":
        return cls(SeparatorConfig(), spec)


@dataclass
class Run:
    """What mss.trained.load_trained returns."""

    model: Separator
    arch: str
    signature: str
    provenance: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the training side: one finished run."""
    trained = ModuleType("mss.trained")

    def load_trained(sig: str) -> Run:
        if sig != "1a2b3c4d":
            raise ConfigError(f"{sig}: there is no such run")
        return Run(
            Halver.tiny(AudioSpec(("vocals",))),
            "halver",
            sig,
            {"created": "2025-01-02T03:04:05+00:00", "data": "demo"},
            {"nsdr/demo": {"vocals": 1.0}},
        )

    trained.load_trained = load_trained  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mss.trained", trained)
    monkeypatch.setattr("mss.trained", trained, raising=False)
    monkeypatch.setitem(registry.BUILTIN["model"], "halver", f"{Halver.__module__}:Halver")


@pytest.mark.usefixtures("runs")
def test_export_prints_the_file_it_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["1a2b3c4d", "-o", str(out), "--licence", "MIT"]) == 0
    path = Path(capsys.readouterr().out.strip())
    model, header = load_package(path)
    assert model.state_dict()["gain"].item() == 0.25
    assert header.licence == "MIT"
    assert header.created == "2025-01-02T03:04:05+00:00"
    assert header.provenance["data"] == "demo"
    assert header.scores == {"nsdr/demo": {"vocals": 1.0}}
    index = json.loads((out / "index.json").read_text())
    assert [entry["file"] for entry in index["models"]] == [path.name]
    # The same again: the same file, one entry.
    assert main(["1a2b3c4d", "-o", str(out), "--licence", "MIT"]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert len(json.loads((out / "index.json").read_text())["models"]) == 1


@pytest.mark.usefixtures("runs")
def test_folder_defaults_to_release_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["1a2b3c4d"]) == 0
    assert len(list(Path("release_models").glob("halver-1a2b3c4d-*.safetensors"))) == 1


@pytest.mark.usefixtures("runs")
def test_default_flag(tmp_path: Path) -> None:
    for licence, flags in (("A", []), ("B", []), ("C", ["--default"])):
        assert main(["1a2b3c4d", "-o", str(tmp_path), "--licence", licence, *flags]) == 0
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["default"] == index["models"][2]["name"]


@pytest.mark.usefixtures("runs")
def test_unknown_run_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ffffffff", "-o", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.err == "export: ffffffff: there is no such run\n"
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("runs")
def test_reindex_lists_and_names_a_damaged_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["1a2b3c4d", "-o", str(tmp_path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    (tmp_path / "index.json").unlink()
    assert main(["--reindex", "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{path.stem}\n"
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["--reindex", "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"export: {path}: damaged")


@pytest.mark.parametrize("arguments", [[], ["1a2b3c4d", "--reindex"]])
def test_signature_or_reindex(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_needs_no_training_packages(repository: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('hydra', 'omegaconf', 'dora', 'submitit'): sys.modules[name] = None\n"
        "from tools.export import main; main(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert "--reindex" in done.stdout


def test_a_grid_s_finished_runs_are_released_and_the_others_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    for sig, done in (("aaaa0000", 2), ("bbbb0000", 1), ("cccc0000", None)):
        folder = outputs / "xps" / sig
        folder.mkdir(parents=True)
        link = outputs / "grids" / "mine" / sig
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
        if done is not None:
            (folder / "config.lock.json").write_text('{"config": {"train": {"epochs": 2}}}')
            save_checkpoint(
                folder / "checkpoint.th", dict.fromkeys(CONTENT) | {"history": [{}] * done}
            )
    monkeypatch.setenv("STEMGRID_OUTPUTS", str(outputs))
    monkeypatch.setattr("mss.trained.CONTENT", {"history": list})
    exported: list[str] = []

    def export(sig: str, out: Path, **_: Any) -> Path:
        exported.append(sig)
        return out / sig

    monkeypatch.setattr("tools.export.export_run", export)
    assert main(["--grid", "mine", "-o", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert exported == ["aaaa0000"]
    assert printed.out == f"{tmp_path / 'aaaa0000'}\n"
    assert "bbbb0000: 1 of 2 epochs done; left out" in printed.err
    assert "cccc0000: 0 of ? epochs done" in printed.err
    assert main(["--grid", "mime"]) == 1
    assert "no run of such a grid here. Did you mean 'mine'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--grid", "x", "sig"], ["a", "b", "--default"]])
def test_what_does_not_go_together(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
