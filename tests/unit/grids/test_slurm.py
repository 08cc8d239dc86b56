"""Presets, the look for SLURM, and jobs that nobody noted."""

import os
import pickle
from types import SimpleNamespace

import pytest
from dora.conf import SlurmConfig
from dora.shep import Shepherd

from grids import _slurm
from grids._base import SeparationExplorer
from grids._slurm import preset, require_slurm
from mss.core.errors import ConfigError
from mss.shepherd import cancel_orphans


@pytest.fixture
def presets(tmp_path, monkeypatch):
    """A conf/slurm of the test."""
    folder = tmp_path / "conf" / "slurm"
    folder.mkdir(parents=True)
    monkeypatch.setattr(_slurm, "CONF", tmp_path / "conf")
    return folder


def test_a_preset_says_all_of_a_jobs_size(presets):
    (presets / "small.yaml").write_text("gpus: 0\nmem_per_gpu: 8\n")
    launcher_default = SlurmConfig(
        gpus=8, cpus_per_task=64, one_task_per_node=True, srun_args=["--ntasks=2"]
    )
    for key, value in preset("small").items():
        setattr(launcher_default, key, value)
    assert (launcher_default.gpus, launcher_default.mem_per_gpu) == (0, 8)
    assert launcher_default.cpus_per_task is None
    assert not launcher_default.one_task_per_node
    assert launcher_default.srun_args == []


def test_changes_win_and_where_jobs_go_stays_with_the_default(presets, monkeypatch):
    monkeypatch.setenv("STEMGRID_PARTITION", "theirs")
    (presets / "site.yaml").write_text("gpus: 1\npartition: ${oc.env:STEMGRID_PARTITION,null}\n")
    (presets / "named.yaml").write_text("gpus: 1\npartition: large\nqos: high\n")
    assert preset("site", gpus=4, time=60)["gpus"] == 4
    assert "partition" not in preset("site")
    assert "setup" not in preset("site")
    assert preset("named")["partition"] == "large"
    assert preset("named")["qos"] == "high"


def test_a_wrong_name_or_key_is_told_with_the_nearest_right_one(presets):
    (presets / "small.yaml").write_text("gpu: 1\n")
    with pytest.raises(ConfigError, match=r"smal: not there\. Did you mean 'small'\?"):
        preset("smal")
    with pytest.raises(ConfigError, match=r"gpu is no setting of a job\. Did you mean 'gpus'\?"):
        preset("small")


def test_the_presets_in_conf_are_jobs():
    for name in ("cpu", "default", "a100x8"):
        SlurmConfig(**preset(name))


def test_without_slurm_one_sentence_says_what_to_do(programs):
    programs()
    with pytest.raises(ConfigError) as raised:
        require_slurm("smoke")
    text = str(raised.value)
    assert "SLURM is not on this machine" in text
    assert "python -m tools.grid smoke --local" in text
    assert "python -m tools.grid smoke --plan" in text
    assert "\n" not in text


def test_dora_grid_ends_with_that_sentence_before_it_asks_for_runs(programs, capsys):
    programs()
    asked = []

    @SeparationExplorer
    def explorer(launcher):
        asked.append(launcher)

    with pytest.raises(SystemExit) as raised:
        explorer(SimpleNamespace(_herd=None))
    assert raised.value.code == 1
    assert asked == []
    printed = capsys.readouterr().err
    assert printed.startswith("dora: error: dora grid ")
    assert printed.count("\n") == 1

    programs(sbatch="exit 0", srun="exit 0", sacct="exit 0")
    launcher = SimpleNamespace(_herd=None)
    explorer(launcher)
    assert asked == [launcher]


def test_sacct_has_to_be_there_and_to_answer(programs, monkeypatch):
    programs(sbatch="exit 0", srun="exit 0")
    with pytest.raises(ConfigError, match="sacct is not on PATH"):
        require_slurm("smoke")
    programs(sacct="echo more >&2; echo 'sacct: error: Connection refused' >&2; exit 1")
    with pytest.raises(ConfigError, match=r"sacct does not answer \(sacct: error: Connection ref"):
        require_slurm("smoke")
    programs(sacct="exec /bin/sleep 30")
    monkeypatch.setattr(_slurm, "SACCT_SECONDS", 0.2)
    with pytest.raises(ConfigError, match=r"sacct does not answer within"):
        require_slurm("smoke")
    programs(sacct="exit 0")
    monkeypatch.setattr(_slurm, "SACCT_SECONDS", 20)
    require_slurm("smoke")


def test_orphans_are_cancelled_where_there_is_no_terminal(programs, tmp_path, monkeypatch):
    def no_terminal() -> str:
        raise OSError("no tty")

    monkeypatch.setattr(os, "getlogin", no_terminal)
    monkeypatch.setenv("LOGNAME", "somebody")
    calls = tmp_path / "calls"
    programs(
        squeue=f'echo "squeue $@" >> {calls}; echo 12_0; echo 12_1; echo 7',
        scancel=f'echo "scancel $@" >> {calls}',
    )
    orphans = tmp_path / "orphans"
    orphans.mkdir()
    (orphans / "mss_abc").touch()
    cancel_orphans(SimpleNamespace(_orphans=orphans))
    assert calls.read_text().splitlines() == [
        "squeue -u somebody -n mss_abc -o %i -h",
        "scancel 12 7",
    ]
    assert list(orphans.iterdir()) == []


def test_orphans_are_kept_until_slurm_can_be_asked(programs, tmp_path):
    orphans = tmp_path / "orphans"
    orphans.mkdir()
    (orphans / "mss_abc").touch()
    programs()
    cancel_orphans(SimpleNamespace(_orphans=orphans))
    programs(squeue="exit 1")
    cancel_orphans(SimpleNamespace(_orphans=orphans))
    assert [tag.name for tag in orphans.iterdir()] == ["mss_abc"]


def test_every_command_of_dora_brings_the_remedy_along():
    import mss.train  # noqa: F401

    assert Shepherd._check_orphans is cancel_orphans


def test_a_job_that_is_preempted_as_it_starts_is_requeued():
    """It stands in no run yet: Dora's own target would end the job with an error."""
    from dora import shep

    import mss.train  # noqa: F401

    target = shep._SubmitItTarget()
    delayed = target.checkpoint(b"main", ["seed=1"], True, False)
    assert delayed.function is target
    assert delayed.args == (b"main", ["seed=1"], True, False)
    copy = pickle.loads(pickle.dumps(target))
    assert type(copy).__module__ == "mss.shepherd"
    copy.requeue = False
    with pytest.raises(SystemExit):
        copy.checkpoint()
