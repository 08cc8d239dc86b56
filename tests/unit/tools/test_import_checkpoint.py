"""python -m tools.import_checkpoint: what it prints, and what it exits with."""

import shlex
from pathlib import Path

import pytest
import torch
from foreign_files import SOURCES, small_hdemucs

from mss.core.cache import CACHE_VARIABLE
from mss.release.importers.known import KnownFile
from mss.release.repo import Repo
from tools.import_checkpoint import main

CONFIG = """
model: hdemucs
hdemucs: {channels: 4, nfft: 256, depth: 4, norm_starts: 2, norm_groups: 2, dconv_comp: 2,
  dconv_lstm: 2, dconv_attn: 2}
training: {instruments: !!python/tuple [drums, vocals], channels: 2, samplerate: 8000, segment: 2}
inference: {num_overlap: 2}
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": small_hdemucs().state_dict()}, path)
    return path


def test_prints_the_file_and_the_next_command(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "its.yaml"
    config.write_text(CONFIG)
    out = tmp_path / "release_models"
    arguments = [str(checkpoint), "-o", str(out), "--name", "mine", "--licence", "CC0"]
    arguments += ["--config", str(config), "--type", "htdemucs"]  # MSST's type of all of demucs
    assert main(arguments) == 0
    (file,) = out.glob("*.safetensors")
    assert capsys.readouterr().out.splitlines() == [
        str(file),
        f"separate with it: stemgrid separate --repo {out} -n mine song.wav",
    ]
    release = Repo(out).load("mine")
    assert release.spec.sources == SOURCES
    assert release.headers[0].licence == "CC0"


def test_error_is_one_line(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = checkpoint.parent / "release_models"
    assert main([str(checkpoint), "-o", str(out)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"import_checkpoint: {checkpoint}: no yaml lies beside it; name the one that its author "
        "published with it: --config FILE.yaml\n"
    )
    assert not out.exists()


def test_folder_that_can_t_be_written(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.with_suffix(".yaml").write_text(CONFIG)
    out = checkpoint.parent / "file"
    out.write_text("")
    assert main([str(checkpoint), "-o", str(out)]) == 1
    assert "import_checkpoint:" in capsys.readouterr().err


def test_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(file: KnownFile, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr("mss.release.importers.download._stream", interrupted)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    assert main(["htdemucs", "-o", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == (
        "import_checkpoint: interrupted; the same command starts again\n"
    )
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not (tmp_path / "out").exists()


def test_names_what_stands_for_the_model_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, config = tmp_path / "of mine", tmp_path / "its.yaml"
    config.write_text(CONFIG)
    for seed in (0, 1):
        path = tmp_path / f"{seed}.ckpt"
        torch.save(small_hdemucs(seed).state_dict(), path)
        arguments = [str(path), "-o", str(out), "--name", "mine", "--config", str(config)]
        assert main(arguments) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("separate")]
    words = [shlex.split(line.partition(": ")[2]) for line in printed]
    assert [(line[3], line[5]) for line in words] == [
        (str(out), "mine"),
        (str(out), Repo(out).entries()[-1].name),
    ]


def test_empty_name(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "--name", ""]) == 1
    assert "--name: '' can't be a model's name" in capsys.readouterr().err


def test_files_without_a_known_name(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "--files", str(checkpoint.parent)]) == 1
    assert "--files: only with the name of a known model" in capsys.readouterr().err
