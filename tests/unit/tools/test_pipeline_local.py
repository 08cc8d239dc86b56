"""Pipelines on this machine, of toy steps in processes of their own."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from pipeline_stage import Stage, made

import tools.pipelines
from mss.core.errors import ConfigError
from tools import local_executor
from tools.machine import Machine
from tools.pipeline import main
from tools.pipeline_again import put_aside
from tools.pipeline_folder import Claim
from tools.pipeline_local import StepRun
from tools.pipeline_state import overview, states
from tools.pipeline_steps import OUT, Pipeline


@pytest.fixture
def stage(tmp_path, lab, monkeypatch, repository, cache_folder) -> Stage:
    monkeypatch.chdir(repository)
    monkeypatch.setattr(local_executor, "POLL_SECONDS", 0.02)
    return Stage(tmp_path, lab, monkeypatch)


@pytest.fixture(autouse=True)
def ctrl_c_is_not_ignored():
    """A shell that starts the tests in the background has them ignore it, as nohup would."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def diamond(p: Pipeline, first: str = "a", resumes: bool = False) -> None:
    """One step, two that are made from it, and one that is made from both."""
    a = p.tool("first", "toy", "--word", first, "--out", OUT, resumes=resumes)
    text = a.path / "made.txt"
    b, c = (p.tool(name, "toy", "--word", name, "--in", text, "--out", OUT) for name in "bc")
    both = ("--in", b.path / "made.txt", "--in", c.path / "made.txt")
    p.tool("last", "toy", "--word", "d", *both, "--out", OUT)


def pair(p: Pipeline, first: str = "a", resumes: bool = False) -> None:
    """One step, and one that is made from it."""
    a = p.tool("first", "toy", "--word", first, "--out", OUT, resumes=resumes)
    p.tool("last", "toy", "--word", "b", "--in", a.path / "made.txt", "--out", OUT)


def words(plan, until=None) -> dict[str, str]:
    return {name: state.word for name, state in states(plan, until).items()}


def test_steps_run_behind_what_they_need_and_once(stage, capsys):
    plan = stage.plan(diamond)
    assert stage.run(plan) == (0, ["a", "b", "c", "d"])
    assert made(plan, "last") == "d(b(a))(c(a))"
    assert set(words(plan).values()) == {"done"}
    record = json.loads((plan.steps["last"].folder.path / "step.json").read_text())
    assert record["inputs"] == {name: plan.steps[name].id for name in "bc"}
    assert [Path(path).name for path in record["left"]] == ["half", "made.txt"]
    capsys.readouterr()
    assert stage.run(stage.plan(diamond)) == (0, [])
    assert "last" in capsys.readouterr().out


def test_a_run_is_trained_by_dora_and_one_that_a_grid_has_finished_is_left_alone(stage):
    def declare(p: Pipeline) -> None:
        run = p.train("run", {"seed": 1, "train.epochs": 1})
        tool = ("toy", "--word", "a", "--in", run.path / "checkpoint.th", "--out", OUT)
        p.tool("made", *tool)

    plan = stage.plan(declare)
    xp = plan.steps["run"].xp
    assert stage.run(plan) == (0, [xp.sig, "a"])
    assert made(plan, "made") == "a(seed=1 train.epochs=1)"
    assert stage.run(plan) == (0, [])

    shutil.rmtree(plan.root)
    epoch = {"train": {}, "valid": {}, "test": {"nsdr": 1.0}}
    (Path(xp.folder) / "history.json").write_text(json.dumps([epoch]))
    assert words(plan) == {"run": "done", "made": "to do"}
    assert stage.run(plan) == (0, ["a"])


def test_another_beginning_gives_other_folders_and_what_was_there_stays(stage):
    old, new = stage.plan(pair), stage.plan(lambda p: pair(p, "x"))
    stage.run(old)
    assert stage.run(new) == (0, ["x", "b"])
    assert made(new, "last") == "b(x)"
    assert made(old, "last") == "b(a)"
    assert stage.run(old) == (0, [])


def test_a_failed_step_holds_back_what_is_made_from_it_alone(stage, capsys):
    plan = stage.plan(diamond)
    stage.set(FAIL="b")
    assert stage.run(plan) == (1, ["a", "b", "c"])
    printed = capsys.readouterr()
    assert "the cause of b" in printed.err
    assert "failed: b; 2 steps to go" in printed.err
    assert words(plan) == {"first": "done", "b": "failed", "c": "done", "last": "waits for"}
    assert "failed (ended with status 3)" in overview(plan, states(plan))
    stage.set(FAIL="")
    assert stage.run(plan) == (0, ["b", "d"])
    # what the failed attempt left was taken away before
    assert made(plan, "last") == "d(b(a))(c(a))"


def test_a_step_that_can_goes_on_with_what_it_left(stage):
    plan = stage.plan(lambda p: pair(p, resumes=True))
    stage.set(FAIL="a")
    assert stage.run(plan) == (1, ["a"])
    stage.set(FAIL="")
    assert stage.run(plan, until="first") == (0, ["a"])
    assert made(plan, "first") == "again-a"


def test_a_step_that_does_not_leave_what_it_was_to_has_failed(stage):
    def declare(p: Pipeline) -> None:
        p.tool("made", "toy", "--word", "a", "--out", OUT, "--also", OUT / "list.csv")

    plan = stage.plan(declare)
    assert stage.run(plan) == (1, ["a"])
    assert "left no " in plan.steps["made"].folder.failure
    assert plan.steps["made"].folder.failure.endswith("/out/list.csv")


def test_what_is_not_asked_for_or_not_needed_is_not_run(stage):
    plan = stage.plan(diamond)
    assert stage.run(plan, until="b") == (0, ["a", "b"])
    assert words(plan, "b") == {
        "first": "done",
        "b": "done",
        "c": "not needed",
        "last": "not needed",
    }
    assert stage.run(plan) == (0, ["c", "d"])
    shutil.rmtree(plan.steps["b"].path)  # to save space: all that needs it is there
    assert words(plan)["b"] == "not needed"
    assert stage.run(plan) == (0, [])
    shutil.rmtree(plan.steps["last"].path)
    assert stage.run(plan) == (0, ["b", "d"])


def test_steps_that_do_not_need_each_other_share_the_cores(stage):
    stage.run(stage.plan(diamond), jobs=2)
    assert {line["threads"] for line in stage.notes("start")} == {"2"}
    stage.run(stage.plan(lambda p: pair(p, "x")), jobs=2)  # one behind the other
    assert [line["threads"] for line in stage.notes("start")[4:]] == [None] * 2


def test_a_step_gets_the_gpus_that_its_job_asks_for(stage):
    def declare(p: Pipeline) -> None:
        p.slurm_(gpus=2)
        p.train("run", {"seed": 1})
        p.tool("tool", "toy", "--word", "one", "--out", OUT)
        p.tool("none", "toy", "--word", "none", "--out", OUT, slurm={"gpus": 0})

    plan = stage.plan(declare)
    status, _ = stage.run(plan, machine=Machine(("3", "5"), 4))
    assert status == 0
    train, one, none = stage.notes("start")
    assert [line["gpus"] for line in (train, one, none)] == ["3,5", "3", ""]
    assert train["argv"][:5] == ["-P", "mss", "run", "-d", "--ddp_workers=2"]


# -- ends --------------------------------------------------------------------------------------


def test_a_signal_leaves_nothing_half_done_and_the_same_command_goes_on(stage, capsys):
    plan = stage.plan(pair)
    stage.set(SLEEP={"b": 30})
    sender = stage.terminate_when("b")
    status, started = stage.run(plan)
    sender.join()
    assert status == 143
    assert started == ["a", "b"]
    assert words(plan) == {"first": "done", "last": "to do"}
    assert "stopped with 1 step to go" in capsys.readouterr().err
    assert not Path(f"/proc/{stage.notes('start')[-1]['pid']}").exists()
    stage.set(SLEEP="{}")
    assert stage.run(plan) == (0, ["b"])
    assert made(plan, "last") == "b(a)"


def folder_of(plan, name: str) -> Path:
    planned = plan.steps[name]
    planned.folder.write_task(planned.task)
    return planned.folder.path


def test_of_two_calls_one_runs_the_step_and_the_other_waits_for_it(stage):
    plan = stage.plan(diamond)
    folder = folder_of(plan, "first")
    stage.set(SLEEP={"a": 1})
    workers = [stage.worker(folder) for _ in range(2)]
    printed = [worker.communicate(timeout=30)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert len(stage.notes("start")) == 1
    assert sum("done already" in text for text in printed) == 1


def test_the_one_that_waits_hears_of_the_failure(stage):
    plan = stage.plan(diamond)
    folder = folder_of(plan, "first")
    stage.set(SLEEP={"a": 1}, FAIL="a")
    first = stage.worker(folder)
    stage.wait_for_start("a")
    assert words(plan)["first"] == "running"
    second = stage.worker(folder)
    assert "failed where it was done: ended with status 3" in second.communicate(timeout=30)[0]
    assert first.wait(timeout=30) == 3
    assert second.returncode == 1
    assert len(stage.notes("start")) == 1


def test_what_a_killed_worker_leaves_running_is_not_started_a_second_time(stage):
    plan = stage.plan(diamond)
    folder = folder_of(plan, "first")
    stage.set(SLEEP={"a": 1.5})
    killed = stage.worker(folder)
    stage.wait_for_start("a")
    killed.kill()
    killed.wait()
    assert words(plan)["first"] == "running"
    stage.set(SLEEP="{}")
    assert stage.worker(folder).wait(timeout=30) == 0
    first, second = stage.notes("start")
    assert second["time"] >= stage.notes("end")[0]["time"] > first["time"]
    assert made(plan, "first") == "a"  # of the second: it began with an empty folder


def test_a_signal_to_the_worker_reaches_the_command(stage):
    plan = stage.plan(diamond)
    stage.set(SLEEP={"a": 30})
    worker = stage.worker(folder_of(plan, "first"))
    note = stage.wait_for_start("a")
    worker.send_signal(signal.SIGUSR2)  # as SLURM does before the end of a job
    assert worker.wait(timeout=20) == 128 + signal.SIGUSR2
    assert not Path(f"/proc/{note['pid']}").exists()
    assert plan.steps["first"].folder.failure == ""


def test_later_tasks_of_a_job_leave_a_tool_to_the_first_and_train_beside_it(stage):
    def declare(p: Pipeline) -> None:
        p.tool("made", "toy", "--word", "a", "--out", OUT)
        p.train("run", {"seed": 1})

    plan = stage.plan(declare)
    assert stage.worker(folder_of(plan, "made"), RANK="1").wait(timeout=30) == 0
    assert stage.notes("start") == []
    assert stage.worker(folder_of(plan, "run"), RANK="1").wait(timeout=30) == 0
    assert [line["word"] for line in stage.notes("start")] == [plan.steps["run"].xp.sig]
    assert not (plan.steps["run"].folder.path / "step.json").exists()


# -- anew --------------------------------------------------------------------------------------


def test_what_is_made_anew_overwrites_nothing(stage):
    def declare(p: Pipeline) -> None:
        a = p.tool("a", "toy", "--word", "a", "--out", OUT)
        b = p.tool("b", "toy", "--word", "b", "--in", a.path / "made.txt", "--out", OUT)
        run = {"dset": "folder", "dset.root": b.path, "dset.name": b.signature}
        p.train("run", run)

    plan = stage.plan(declare)
    stage.run(plan)
    run = Path(plan.steps["run"].xp.folder)
    old = (run / "checkpoint.th").stat().st_ino
    moved = put_aside(plan, plan.behind("b"))
    assert words(plan) == {"a": "done", "b": "to do", "run": "waits for"}
    assert not run.exists()
    texts = [path / "out" / "made.txt" for path in moved if (path / "out").exists()]
    assert [text.read_text() for text in texts] == ["b(a)"]
    kept = [path / "checkpoint.th" for path in moved if (path / "checkpoint.th").exists()]
    assert [path.stat().st_ino for path in kept] == [old]
    assert stage.run(plan) == (0, ["b", plan.steps["run"].xp.sig])


COMMAND = """
from tools.pipeline_steps import OUT, Pipeline


def pipeline(p: Pipeline) -> None:
    a = p.tool("first", "toy", "--word", "a", "--out", OUT)
    p.tool("last", "toy", "--word", "b", "--in", a.path / "made.txt", "--out", OUT)
"""


def test_the_command_shows_runs_and_makes_anew(stage, monkeypatch, capsys):
    folder = stage.folder / "pipelines"
    folder.mkdir()
    (folder / "of_the_test.py").write_text(COMMAND)
    monkeypatch.setattr(tools.pipelines, "__path__", [str(folder)])

    def run(*arguments: str) -> tuple[int, list[str], str]:
        before = len(stage.notes("start"))
        status = main(["of_the_test", *arguments])
        words = [line["word"] for line in stage.notes("start")[before:]]
        return status, words, capsys.readouterr().out

    status, words, shown = run("--plan")
    assert (status, words) == (0, [])
    assert "# last: " in shown
    assert "python -m toy --word b --in " in shown
    assert run("--local", "--until", "first")[:2] == (0, ["a"])
    stage.set(FAIL="b")
    assert run("--local")[:2] == (1, ["b"])
    stage.set(FAIL="")
    assert run("--local")[:2] == (0, ["b"])
    status, words, shown = run("--local", "--from", "last")
    assert (status, words) == (0, ["b"])
    assert shown.count("put aside: ") == 1
    assert run("--local")[:2] == (0, [])


def test_what_is_being_run_is_not_put_aside(stage):
    plan = stage.plan(pair)
    stage.run(plan)
    with Claim(plan.steps["last"].folder) as claim:
        assert claim.take()
        with pytest.raises(ConfigError, match=r"--from: last .* is being run by another process"):
            put_aside(plan, plan.behind("first"))
    assert words(plan) == dict.fromkeys(plan.steps, "done")


def test_a_step_stands_where_the_executor_knows_runs(stage):
    plan = stage.plan(diamond)
    runs = [StepRun(None, planned=plan.steps["b"]) for _ in range(2)]
    runs.remove(runs[1])  # compares
    assert "b (toy-" in runs[0].signature
