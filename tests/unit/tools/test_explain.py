"""What is told of a signature, also where files are missing or damaged."""

import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from mss.build import locked_values
from mss.core.errors import ConfigError
from mss.solver.folder import FolderClaim
from mss.solver.lock import provenance
from tools.explain import main as explain_main
from tools.run_facts import find_run, is_claimed

ARGV = ["variant=debug", "dset=demo_tiny", "model=hdemucs_tiny", "optim.lr=0.001", "optim=adam"]


@pytest.fixture
def composed(lab):
    return lab.get_xp(ARGV)


@pytest.fixture(autouse=True)
def no_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def folder(lab, composed) -> Path:
    """The folder of a run that is through with one of its two epochs."""
    found = Path(lab.dora.dir) / "xps" / composed.sig
    found.mkdir(parents=True)
    (found / ".argv.json").write_text(json.dumps(ARGV))
    write(found / "config.lock.json", lock(composed))
    manifest = {"name": "demo_tiny", "fingerprint": "f" * 64, "tracks": {"a": {}, "b": {}}}
    described = provenance({"train": {**manifest, "seconds": 90.0}, "test": manifest})
    write(found / "provenance.json", described)
    epoch = {
        "train": {"loss": 1.0, "seconds": 1.0},
        "valid": {"nsdr": 2.5, "nsdr_bass": 2.5, "best": 2.5},
    }
    write(found / "history.json", [epoch])
    (found / "checkpoint.th").write_bytes(b"0" * 2_500_000)
    os.utime(found / "checkpoint.th", (0, time.time() - 3 * 3600))
    return found


def lock(composed) -> dict:
    spec = {"sources": ["bass"], "samplerate": 44100, "channels": 2}
    return {"config": locked_values(composed.cfg) | {"spec": spec}, "data": "d" * 64}


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def explained(capsys, signature: str, *options: str) -> str:
    assert explain_main([signature, *options]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def facts(capsys, folder: Path) -> dict:
    return json.loads(explained(capsys, folder.name, "--json"))


def test_a_run_is_explained_in_words(folder, capsys):
    text = explained(capsys, folder.name[:5])
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == f"{folder.name} {folder}"
    meaning = lines.index("Meaning")
    assert lines[meaning + 1] == f"dora run {' '.join(ARGV)}"
    # groups before single values, each with what it replaces
    assert lines[meaning + 2].startswith("variant debug (default none) Two short epochs")
    assert lines[meaning + 3].startswith("dset demo_tiny (default demo) A handful of short demo")
    assert lines[meaning + 4].startswith("model hdemucs_tiny (default hdemucs) A Hybrid Demucs")
    assert lines[meaning + 5] == "optim adam (the default)"
    assert lines[meaning + 6] == "optim.lr 0.001 (default 0.0003)"
    assert "by default: targets=all" in lines[meaning + 7]
    assert "1 of 2 epochs done" in lines
    assert "best nsdr 2.50 in epoch 1" in lines
    assert "not tested yet" in lines
    assert "checkpoint of 2.5 MB, 3 hours old" in lines
    assert "train: 2 songs of demo_tiny, 1.5 minutes (ffffffff)" in lines
    assert "test: 2 songs of demo_tiny (ffffffff)" in lines
    assert "nothing of it has changed in conf/ since" in lines
    assert "the packages of now" in lines
    assert lines[-1] == f"Next: dora run -f {folder.name}"


def test_the_lock_tells_what_was_set_and_what_changed_since(folder, composed, capsys):
    found = facts(capsys, folder)["lock"]
    assert found["differs_from_defaults"] == [["optim.lr", 0.0003, 0.001]]
    assert found["changed_since"] == []
    assert found["spec"]["sources"] == ["bass"]

    older = lock(composed)
    older["config"]["optim"]["eps"] = 1e-6  # another default then
    del older["config"]["optim"]["clip_norm"]  # not there then: no change
    write(folder / "config.lock.json", older)
    found = facts(capsys, folder)["lock"]
    assert found["changed_since"] == [["optim.eps", 1e-6, 1e-8]]
    assert ["optim.eps", 1e-8, 1e-6] in found["differs_from_defaults"]
    assert not any(key == "optim.clip_norm" for key, *_ in found["differs_from_defaults"])
    assert "optim.eps  1e-06 -> 1e-08" in explained(capsys, folder.name)


def test_other_packages_and_code_are_named(folder, capsys):
    stored = json.loads((folder / "provenance.json").read_text())
    stored["packages"]["submitit"] = "0.0.1"
    stored["packages"]["gone"] = "1.0"
    stored["source"] = "0" * 64
    write(folder / "provenance.json", stored)
    found = facts(capsys, folder)["provenance"]
    assert found["packages"] == {"submitit": ["0.0.1", version("submitit")], "gone": ["1.0", None]}
    assert not found["same_code"]
    text = explained(capsys, folder.name)
    assert "gone 1.0 (now not installed)" in text
    assert "the code has changed since" in text


def test_a_finished_run_is_next_exported(folder, capsys):
    history = json.loads((folder / "history.json").read_text())
    history.append({**history[0], "test": {"nsdr": 3.0, "nsdr_bass": 3.0}})
    write(folder / "history.json", history)
    text = explained(capsys, folder.name)
    assert "tested (dB): nsdr 3.00, bass 3.00" in text
    assert text.endswith(f"Next: python -m tools.export {folder.name}\n")


def test_a_run_in_training_is_told_and_not_disturbed(folder, capsys):
    assert is_claimed(folder) is False
    with FolderClaim(folder):
        assert is_claimed(folder) is True
        assert "a process is training it" in explained(capsys, folder.name)
    assert is_claimed(folder) is False
    with FolderClaim(folder):  # asking left nothing behind that would refuse it
        pass


def test_the_slurm_job_and_its_grids_are_told(folder, capsys, tmp_path):
    write(folder / "job.json", {"job_id": "17_1"})
    links = folder.parent.parent / "grids" / "smoke"
    links.mkdir(parents=True)
    (links / folder.name).symlink_to(folder)
    text = explained(capsys, folder.name)
    assert "SLURM job 17_1 (state unknown: no sacct here)" in text
    assert "in the grids smoke" in text
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sacct").write_text("#!/bin/sh\necho PENDING\n")
    (tmp_path / "bin" / "sacct").chmod(0o755)
    assert "SLURM job 17_1 (PENDING)" in explained(capsys, folder.name)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        (".argv.json", "Meaning"),
        ("config.lock.json", "Lock"),
        ("provenance.json", "Provenance"),
        ("history.json", "State"),
    ],
)
@pytest.mark.parametrize("content", ['{"config": 1', '"text"'])
def test_a_damaged_file_is_one_line(folder, capsys, name, title, content):
    (folder / name).write_text(content)
    text = explained(capsys, folder.name)
    section = text.split(f"\n{title}\n")[1].split("\n\n")[0]
    assert f"  {name}: " in section
    assert sum(f"{name}: " in line for line in text.splitlines()) == 1


def test_missing_files_are_a_line_each(folder, capsys):
    for path in folder.iterdir():
        path.unlink()
    text = explained(capsys, folder.name)
    for name in (".argv.json", "config.lock.json", "provenance.json"):
        assert f"  {name}: not there" in text
    assert "0 epochs done" in text
    assert "no checkpoint" in text


def test_a_start_has_to_be_unique(lab, tmp_path):
    runs = Path(lab.dora.dir) / "xps"
    for name in ("abc12345", "abd12345"):
        (runs / name).mkdir(parents=True)
    assert find_run(lab, "abc").name == "abc12345"
    with pytest.raises(ConfigError, match="ab: could be abc12345, abd12345; give more of it"):
        find_run(lab, "ab")
    with pytest.raises(ConfigError, match=r"no run of this signature in .*mean 'abc12345'"):
        find_run(lab, "bc12345")


def test_no_run_is_one_sentence(lab, capsys):
    assert explain_main(["abc"]) == 1
    assert capsys.readouterr().err.startswith("explain: abc: no run of this signature")


def test_an_override_that_no_longer_fits_is_one_line(folder, capsys, monkeypatch):
    from tools import run_facts

    def refuse(main, argv):
        raise ConfigError("modle: there is no such key.")

    monkeypatch.setattr(run_facts, "compose_xp", refuse)
    text = explained(capsys, folder.name)
    assert "  modle: there is no such key." in text
    assert "dora run variant=debug" in text
    assert "1 epochs done" in text


def test_a_file_system_without_locks_is_no_answer(tmp_path, monkeypatch):
    from tools import run_facts

    def refuse(*_):
        raise OSError("no locks")

    (tmp_path / ".lock").touch()
    monkeypatch.setattr(
        run_facts, "fcntl", SimpleNamespace(flock=refuse, LOCK_SH=1, LOCK_NB=4, LOCK_UN=8)
    )
    assert is_claimed(tmp_path) is None
