"""Runs on this machine, with a stand-in for `dora`."""

import json
import os
import signal
import sys
import textwrap
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import local_executor
from tools.grid_local import run_here
from tools.grid_runs import gather
from tools.local_executor import LocalExecutor, LocalRun
from tools.machine import Machine, Placement, group_members, place

STAND_IN = textwrap.dedent(
    """
    import json, os, signal, subprocess, sys, time

    journal = os.environ["JOURNAL"]

    def note(what):
        line = {"run": run, "what": what, "time": time.monotonic(), "pid": os.getpid(),
                "group": os.getpgid(0), "argv": sys.argv[1:],
                "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
                "threads": os.environ.get("OMP_NUM_THREADS")}
        with open(journal, "a") as file:
            file.write(json.dumps(line) + "\\n")

    def stop(*_):
        note("checkpoint")
        sys.exit(143)

    options = dict(part.split("=", 1) for part in sys.argv[1:] if "=" in part)
    run = options.get("run", "")
    if "stubborn" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, stop)
    if "child" in options:  # outlives the process that started it
        sleep = "import time; time.sleep(%s)" % options["child"]
        subprocess.Popen([sys.executable, "-S", "-c", sleep])
    note("start")
    print("hello from", run)
    time.sleep(float(options.get("sleep", 0)))
    note("end")
    if "fail" in options:
        print("the cause of", run)
    sys.exit(int(options.get("fail", 0)))
    """
)


class Stage:
    """Fake runs, and what their processes noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.journal.touch()
        self.script = folder / "dora.py"
        self.script.write_text(STAND_IN)
        self.dora = (sys.executable, "-S", str(self.script))
        self.told: list[str] = []

    def run(self, name: str, placement: Placement | None = None, threads=0, **options) -> LocalRun:
        argv = [f"run={name}", *(f"{key}={value}" for key, value in options.items())]
        cfg = SimpleNamespace(misc=SimpleNamespace(threads=threads))
        xp = SimpleNamespace(sig=name, folder=self.folder / "xps" / name, argv=argv, cfg=cfg)
        return LocalRun(SimpleNamespace(xp=xp), placement or Placement(1, 0))

    def executor(self, runs, jobs=1, gpus=(), cores=4, **options) -> LocalExecutor:
        options = {"dora": self.dora, "tell": self.told.append, **options}
        return LocalExecutor(runs, jobs, Machine(tuple(gpus), cores), **options)

    def notes(self, what: str | None = None) -> list[dict]:
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [line for line in lines if what in (None, line["what"])]

    def signal_when(self, signum: int, starts: int) -> threading.Thread:
        """Send this process a signal once so many runs have started."""

        def wait() -> None:
            deadline = time.monotonic() + 20
            while len(self.notes("start")) < starts and time.monotonic() < deadline:
                time.sleep(0.02)
            os.kill(os.getpid(), signum)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture
def stage(tmp_path, monkeypatch) -> Stage:
    made = Stage(tmp_path)
    monkeypatch.setattr(local_executor, "POLL_SECONDS", 0.02)
    monkeypatch.setenv("JOURNAL", str(made.journal))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def nothing() -> None:
    """No table."""


def test_a_run_takes_gpus_as_there_are():
    def places(gpus: str, *asked: int) -> list[tuple[int, int]]:
        found = [place(number, Machine(tuple(gpus), 8)) for number in asked]
        return [(placement.ranks, placement.gpus) for placement in found]

    # as many processes as there would be tasks, where there is no GPU at all
    assert places("", 0, 1, 2, 8) == [(1, 0), (1, 0), (2, 0), (8, 0)]
    assert places("01", 0, 1, 2) == [(1, 0), (1, 1), (2, 2)]
    # fewer GPUs than asked for: the most that share its batch evenly
    assert places("012", 2, 4, 8, 6, 5) == [(2, 2), (2, 2), (2, 2), (3, 3), (1, 1)]


def test_runs_start_in_order_and_no_gpu_is_given_twice(stage):
    asked = {"a": 1, "b": 2, "c": 1, "d": 0, "e": 1, "f": 2, "g": 1}
    gpus = ("3", "5")
    runs = [
        stage.run(name, place(number, Machine(gpus, 4)), sleep=0.1 + 0.1 * (name in "ac"))
        for name, number in asked.items()
    ]
    stage.executor(runs, jobs=3, gpus=gpus).execute(nothing)
    assert {run.job.state for run in runs} == {"COMPLETED"}
    starts, ends = stage.notes("start"), {line["run"]: line["time"] for line in stage.notes("end")}
    held = {line["run"]: [gpu for gpu in line["gpus"].split(",") if gpu] for line in starts}
    assert {name: len(names) for name, names in held.items()} == asked
    assert all(set(names) <= set(gpus) for names in held.values())
    for gpu in gpus:
        users = sorted(
            (line["time"], ends[line["run"]]) for line in starts if gpu in held[line["run"]]
        )
        assert len(users) >= 3
        assert all(end <= start for (_, end), (start, _) in pairwise(users))
    # "d" needs no GPU, and "a" leaves one, but the order is the grid's
    assert all(first < second for first, second in pairwise(begun(stage)))


def begun(stage: Stage) -> list[int]:
    """The order in which the executor says that it started runs, as places in the alphabet."""
    return [ord(line[0]) for line in stage.told if " starts on " in line]


def test_no_more_than_jobs_at_a_time_without_gpus(stage):
    runs = [stage.run(name, sleep=0.1) for name in "abcde"]
    stage.executor(runs, jobs=2).execute(nothing)
    running, most = 0, 0
    for line in sorted(stage.notes(), key=lambda line: line["time"]):
        running += 1 if line["what"] == "start" else -1
        most = max(most, running)
    assert most == 2
    assert all(line["gpus"] is None for line in stage.notes("start"))


def test_a_failed_run_does_not_end_the_others(stage):
    runs = [stage.run("a"), stage.run("b", fail=3), stage.run("c")]
    stage.executor(runs).execute(nothing)
    assert [run.job.state for run in runs] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert runs[1].failure == "ended with status 3"
    assert runs[1].last_lines().endswith("the cause of b")
    assert "run=b fail=3" in runs[1].log.read_text().splitlines()[0]


def test_a_retry_appends_to_the_log_and_tells_of_itself_alone(stage):
    stage.executor([stage.run("a", fail=1)]).execute(nothing)
    again = stage.run("a")
    stage.executor([again]).execute(nothing)
    assert again.log.read_text().count("hello from a") == 2
    assert again.last_lines().count("hello from a") == 1


def test_what_cannot_be_started_has_failed(stage):
    runs = [stage.run("a"), stage.run("b")]
    stage.executor(runs, gpus=["0"], dora=("/no/such/program",)).execute(nothing)
    assert [run.job.state for run in runs] == ["FAILED", "FAILED"]
    assert "No such file" in runs[0].failure
    assert stage.told[-1].startswith("b failed (could not be started")


@pytest.fixture(autouse=True)
def ctrl_c_is_not_ignored():
    """A shell that starts the tests in the background has them ignore it, as nohup would."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_behind_a_checkpoint_and_leaves_no_child(stage, signum):
    runs = [stage.run(name, sleep=30) for name in "abc"]
    before = signal.getsignal(signum)
    sender = stage.signal_when(signum, starts=2)
    executor = stage.executor(runs, jobs=2)
    executor.execute(nothing)
    sender.join()
    assert executor.stopped_by == signum
    assert [run.job.state for run in runs] == ["CANCELLED", "CANCELLED", "PENDING"]
    assert {line["run"] for line in stage.notes("checkpoint")} == {"a", "b"}
    assert len(stage.notes("start")) == 2
    assert all(not group_members(line["group"]) for line in stage.notes("start"))
    assert signal.getsignal(signum) is before


def test_what_does_not_stop_in_time_is_killed_with_all_that_it_started(stage):
    run = stage.run("a", sleep=30, stubborn=1, child=30)
    sender = stage.signal_when(signal.SIGTERM, starts=1)
    started = time.monotonic()
    stage.executor([run], grace=0.3).execute(nothing)
    sender.join()
    assert time.monotonic() - started < 20  # neither of the two slept on
    assert run.job.state == "CANCELLED"
    assert not group_members(stage.notes("start")[0]["group"])


def test_a_second_signal_does_not_wait(stage):
    run = stage.run("a", sleep=30, stubborn=1)
    first = stage.signal_when(signal.SIGINT, starts=1)

    def impatient() -> None:
        first.join()
        while not any(line.startswith("Stopping") for line in stage.told):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    second = threading.Thread(target=impatient)
    second.start()
    stage.executor([run], grace=60).execute(nothing)
    second.join()
    assert not group_members(stage.notes("start")[0]["group"])


def test_a_fault_of_ours_stops_the_runs_as_well(stage):
    def broken() -> None:
        if stage.notes("start"):
            raise RuntimeError("table")

    run = stage.run("a", sleep=30)
    with pytest.raises(RuntimeError, match="table"):
        stage.executor([run]).execute(broken)
    assert stage.notes("checkpoint")
    assert not group_members(stage.notes("start")[0]["group"])


def test_gpus_are_free_when_the_last_process_of_a_run_has_ended(stage):
    runs = [stage.run("a", Placement(1, 1), child=0.6), stage.run("b", Placement(1, 1))]
    stage.executor(runs, jobs=2, gpus=["0"]).execute(nothing)
    (_, second), end = stage.notes("start"), stage.notes("end")[0]
    assert second["time"] - end["time"] > 0.3
    assert [run.job.state for run in runs] == ["COMPLETED", "COMPLETED"]


def test_a_run_of_two_ranks_is_distributed(stage):
    run = stage.run("a", Placement(2, 2))
    stage.executor([run], gpus=["0", "1"]).execute(nothing)
    (started,) = stage.notes("start")
    assert started["argv"] == ["-P", "mss", "run", "-d", "--ddp_workers=2", "run=a"]
    assert started["gpus"] == "0,1"


def test_processes_share_the_cores_unless_the_user_said_how(stage, monkeypatch):
    def threads(jobs: int, *runs: LocalRun) -> list[str | None]:
        stage.journal.write_text("")
        stage.executor(runs, jobs=jobs, cores=8).execute(nothing)
        return [line["threads"] for line in stage.notes("start")]

    pair = Placement(2, 0)
    assert threads(1, stage.run("a"), stage.run("b")) == [None, None]
    assert threads(2, stage.run("a"), stage.run("b")) == ["4", "4"]
    assert threads(4, stage.run("a"), stage.run("b")) == ["4", "4"]  # there are but two
    assert threads(1, stage.run("a", pair)) == ["4"]
    assert threads(1, stage.run("a", pair, threads=1)) == [None]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads(2, stage.run("a"), stage.run("b")) == ["3", "3"]


# -- a whole grid ------------------------------------------------------------------------------

TRAINED = textwrap.dedent(
    """
    import json, os, pathlib, sys

    argv = [part for part in sys.argv[4:] if "=" in part and not part.startswith("--")]
    folder = pathlib.Path(json.loads(os.environ["FOLDERS"])[" ".join(argv)])
    with open(os.environ["JOURNAL"], "a") as file:
        file.write(folder.name + "\\n")
    if os.environ.get("FAIL") == folder.name:
        print("ValueError: the cause")
        sys.exit(1)
    epochs = [{"train": {"loss": 1.0}, "valid": {"nsdr": 1.0, "nsdr_drums": 1.0, "best": 1.0}}] * 2
    epochs[-1] = {**epochs[-1], "test": {"nsdr": 1.5, "nsdr_drums": 1.5}}
    (folder / "history.json").write_text(json.dumps(epochs))
    (folder / "checkpoint.th").touch()
    """
)


@pytest.fixture
def smoke(tmp_path, monkeypatch, lab):
    """Run the smoke grid with a stand-in; returns its status and which runs were started."""
    monkeypatch.setattr(local_executor, "POLL_SECONDS", 0.02)
    journal = tmp_path / "journal"
    monkeypatch.setenv("JOURNAL", str(journal))
    script = tmp_path / "trained.py"
    script.write_text(TRAINED)

    def run(*patterns: str) -> tuple[int, list[str]]:
        runs = gather(lab, "smoke", patterns)
        folders = {" ".join(sheep.xp.argv): str(sheep.xp.folder) for sheep in runs.sheeps}
        monkeypatch.setenv("FOLDERS", json.dumps(folders))
        journal.write_text("")
        dora = (sys.executable, "-S", str(script))
        status = run_here(lab, runs, jobs=1, machine=Machine((), 2), dora=dora)
        return status, journal.read_text().split()

    run.signatures = [sheep.xp.sig for sheep in gather(lab, "smoke").sheeps]
    run.folder = lab.dora.dir
    return run


def test_a_grid_runs_in_order_and_what_is_finished_is_left_alone(smoke, capsys):
    status, started = smoke()
    printed = capsys.readouterr().out
    assert status == 0
    assert started == smoke.signatures
    table = printed[printed.rindex("Base name") :]
    assert table.count("COM") == len(smoke.signatures)
    assert table.count("2/2") == len(smoke.signatures)
    assert "1.50" in table
    links = smoke.folder / "grids" / "smoke"
    assert {link.name for link in links.iterdir()} == set(smoke.signatures)
    assert all(
        (link.resolve() == (smoke.folder / "xps" / link.name).resolve()) for link in links.iterdir()
    )
    assert smoke() == (0, [])


def test_a_failed_run_is_named_with_its_cause_and_tried_again(smoke, capsys, monkeypatch):
    failing = smoke.signatures[1]
    monkeypatch.setenv("FAIL", failing)
    status, started = smoke()
    printed = capsys.readouterr()
    assert status == 1
    assert started == smoke.signatures
    assert "ValueError: the cause" in printed.err
    assert f"1 of 4 runs failed ({failing})" in printed.err
    assert "FAI" in printed.out[printed.out.rindex("Base name") :]
    monkeypatch.delenv("FAIL")
    assert smoke() == (0, [failing])


def test_a_damaged_history_does_not_end_the_grid(smoke, capsys):
    folder = smoke.folder / "xps" / smoke.signatures[0]
    folder.mkdir(parents=True)
    (folder / "history.json").write_text("[{")
    status, started = smoke()
    assert status == 0
    assert started == smoke.signatures


def test_patterns_choose_as_those_of_dora_grid(smoke):
    assert smoke("openunmix")[1] == smoke.signatures[:1]
    assert smoke("!openunmix", "mse")[1] == smoke.signatures[2:3]
    assert smoke("3")[1] == smoke.signatures[3:]
