"""What the doctor says of a machine: of this one, and of broken ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mss.api import doctor
from mss.api.checks import Check
from mss.api.doctor import all_is_well, examine


def install(folder: Path, name: str, version: str, code: str = "") -> None:
    """Put a distribution and its module into a folder, as pip does."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / f"{name}.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules this process and its children can import."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def only(checks: list[Check]) -> Check:
    [check] = checks
    return check


def test_this_machine_can_separate(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "import_fault", lambda module: None)
    found = list(examine(released, tmp_path / "not" / "there"))
    assert all_is_well(found)
    names = [check.name for check in found]
    for name in ("Python", "torch", "CPU", "GPU", "PyAV", "SLURM", "models", "output folder"):
        assert name in names
    by_name = {check.name: check for check in found}
    assert torch.__version__ in by_name["torch"].fact
    assert "3 released, 1 bags" in by_name["models"].fact
    assert "default hdemucs-aaaa1111" in by_name["models"].fact
    for check in found:
        assert check.fact
        assert check.state == "ok" or check.remedy
        assert "\n" not in check.fact + check.remedy
    assert not (tmp_path / "not").exists()


def test_nothing_heavy_is_tried_in_this_process(released: Path, repository: Path) -> None:
    code = (
        "import sys; from mss.api import doctor\n"
        "assert 'torch' not in sys.modules\n"
        "doctor.import_fault = lambda module: None\n"
        "list(doctor.examine(sys.argv[1], '.'))\n"
        "tried = {'torchaudio', 'hydra', 'dora', 'musdb', 'openvino'} & set(sys.modules)\n"
        "assert not tried, tried\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(released)],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_broken_check_is_told_and_the_others_are_made(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[Check]:
        raise OSError("libtorch_cpu.so: undefined symbol")

    monkeypatch.setattr(doctor, "torch_itself", broken)
    monkeypatch.setattr(doctor, "import_fault", lambda module: None)
    found = list(examine(released, tmp_path))
    [check] = [check for check in found if check.name == "torch"]
    assert (check.state, check.fact) == ("wrong", "OSError: libtorch_cpu.so: undefined symbol")
    assert not all_is_well(found)
    assert found[-1].name == "cache"


@pytest.mark.parametrize(
    ("version", "code", "state", "fact"),
    [
        ("2.11.0", "raise OSError('undefined symbol')", "wrong", "can't be imported: OSError"),
        ("2.11.0", "", "wrong", "not a pair"),
        (torch.__version__.partition("+")[0], "", "ok", "beside torch"),
    ],
)
def test_torchaudio_has_to_be_of_torchs_version(
    version: str, code: str, state: str, fact: str, site: Path
) -> None:
    install(site, "torchaudio", version, code)
    check = only(doctor.torchaudio())
    assert check.state == state
    assert f"{version} beside torch {torch.__version__.partition('+')[0]}" in check.fact
    assert fact in check.fact
    assert all_is_well([check])


def test_the_screenshot_library_has_the_same_import_name(site: Path) -> None:
    assert len(doctor.stemgrid()) == 1
    install(site, "mss", "10.1.0")
    (site / "mss.py").unlink()
    [_, clash] = doctor.stemgrid()
    assert clash.state == "wrong"
    assert "screenshot library mss 10.1.0" in clash.fact
    assert "pip uninstall mss" in clash.remedy


def test_a_runtime_that_is_installed_and_broken(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = only(doctor.runtime("no_such_runtime", ()))
    assert (missing.state, missing.needed) == ("missing", False)
    install(site, "shaky_runtime", "1.0", "import no_such_module_of_it")
    broken = only(doctor.runtime("shaky_runtime", ()))
    assert broken.state == "wrong"
    assert "1.0 is installed and can't be imported: ModuleNotFoundError" in broken.fact
    install(site, "whole_runtime", "2.0")
    assert only(doctor.runtime("whole_runtime", ())).state == "ok"
    half = only(doctor.runtime("whole_runtime", ("no-such-exporter",)))
    assert half.state == "wrong"
    assert "without no-such-exporter" in half.fact


def test_a_library_that_is_missing_or_broken(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(doctor.libraries()).state == "ok"
    monkeypatch.setattr(doctor, "_LIBRARIES", (("no-such-library", "no_such_library"),))
    missing = only(doctor.libraries())
    assert (missing.state, missing.remedy) == ("missing", "pip install no-such-library")
    install(site, "shaky_library", "1.0", "raise ValueError('numpy 1 needed')")
    monkeypatch.setattr(doctor, "_LIBRARIES", (("shaky_library", "shaky_library"),))
    broken = only(doctor.libraries())
    assert (broken.state, broken.needed) == ("wrong", True)
    assert "shaky_library (ValueError: numpy 1 needed)" in broken.fact


def test_an_old_libsndfile(monkeypatch: pytest.MonkeyPatch) -> None:
    old = SimpleNamespace(__version__="0.12.1", __libsndfile_version__="1.0.31")
    monkeypatch.setitem(sys.modules, "soundfile", old)
    check = only(doctor.soundfile())
    assert check.state == "wrong"
    assert "libsndfile 1.0.31, which knows no MP3" in check.fact


def test_programs_that_are_not_there(programs: Path) -> None:
    for check in (*doctor.ffmpeg(), *doctor.soundstretch(), *doctor.slurm()):
        assert check.state == "missing"
        assert check.remedy
    program(programs, "ffmpeg", "echo ffmpeg version 7.1 Copyright")
    program(programs, "soundstretch", "exit 1")
    assert only(doctor.ffmpeg()).fact == "7.1"
    assert only(doctor.soundstretch()).state == "ok"


def test_training_without_soundstretch(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy depends on whether the package that does the same is there."""
    monkeypatch.setattr(doctor, "installed_version", {"python-stretch": "9.9"}.get)
    assert "python-stretch 9.9 changes tempo" in only(doctor.soundstretch()).remedy
    monkeypatch.setattr(doctor, "installed_version", {}.get)
    assert "pip install python-stretch" in only(doctor.soundstretch()).remedy


def test_slurm_that_answers_or_does_not(programs: Path) -> None:
    program(programs, "sbatch", "exit 0")
    program(programs, "sinfo", "printf 'gpu*\\ncpu\\ncpu\\n'")
    assert only(doctor.slurm()) == Check("SLURM", "ok", "partitions cpu, gpu*")
    program(programs, "sinfo", "echo 'slurm_load_partitions: Unable to contact' >&2; exit 1")
    check = only(doctor.slurm())
    assert check.state == "wrong"
    assert "Unable to contact" in check.fact
    program(programs, "sinfo", "exit 0")
    assert only(doctor.slurm()).fact == "no partitions"


@pytest.mark.parametrize("cuda", [None, "12.8"])
def test_a_gpu_that_torch_cannot_use(
    cuda: str | None, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert only(doctor.gpus()).state == "missing"
    program(programs, "nvidia-smi", "echo 'GPU 0: NVIDIA Something'")
    check = only(doctor.gpus())
    assert check.state == "wrong"
    assert "NVIDIA Something" in check.fact
    assert ("a build for CPUs" in check.fact) is (cuda is None)


def test_gpus_and_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (3 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some GPU")
    assert [check.fact for check in doctor.gpus()] == [
        f"cuda:{index}: Some GPU, 8.0 GiB, 3.0 GiB free, compute capability 9.0"
        for index in range(2)
    ]


def test_no_models_are_missing_and_not_broken(tmp_path: Path) -> None:
    check = only(doctor.models(tmp_path / "nothing"))
    assert check.state == "missing"
    assert "make demo" in check.remedy
    assert all_is_well([check])


@pytest.mark.parametrize("fault", ["index", "gone", "cut", "default"])
def test_a_damaged_repo(fault: str, released: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(released, repo)
    index = json.loads((repo / "index.json").read_text())
    model = repo / index["models"][1]["file"]
    if fault == "index":
        (repo / "index.json").write_text("{")
    elif fault == "gone":
        model.unlink()
    elif fault == "cut":
        os.truncate(model, 100)
    else:
        index["default"] = "nobody"
        (repo / "index.json").write_text(json.dumps(index))
    check = only(doctor.models(repo))
    assert check.state == "wrong"
    assert {
        "index": "index.json",
        "gone": f"{model}: is missing",
        "cut": f"{model}: has 100 bytes",
        "default": "nobody",
    }[fault] in check.fact
    assert all_is_well([check]) is (fault == "default")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = only(doctor.space("output folder", tmp_path / "a" / "b", True))
    assert good.state == "ok"
    (tmp_path / "file").write_text("")
    bad = only(doctor.space("output folder", tmp_path / "file" / "b", True))
    assert bad.state == "wrong"
    assert "is a file" in bad.fact
    assert not all_is_well([bad])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "can't be written" in only(doctor.space("cache", tmp_path)).fact


def test_little_space_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 << 20))
    check = only(doctor.space("output folder", tmp_path, True))
    assert check.state == "wrong"
    assert "100.0 MiB free" in check.fact
    assert all_is_well([check])
