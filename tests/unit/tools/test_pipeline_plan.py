"""Signatures, folders and commands of a pipeline, known before anything runs."""

import itertools
import os
import shutil
from pathlib import Path

import pytest
from dora.xp import _get_sig
from pipeline_stage import Stage

from mss.core.errors import ConfigError
from tools.pipeline import main
from tools.pipeline_content import content_signature
from tools.pipeline_planner import load_pipeline, make_plan, pipeline_names
from tools.pipeline_state import overview, states
from tools.pipeline_steps import OUT, Data, Pipeline


@pytest.fixture
def stage(tmp_path, lab, monkeypatch, repository, cache_folder) -> Stage:
    monkeypatch.chdir(repository)
    return Stage(tmp_path, lab, monkeypatch)


@pytest.fixture
def songs(tmp_path) -> Path:
    folder = tmp_path / "songs"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "mixture.wav").write_text(f"samples of {name}")
    return folder


def whole(p: Pipeline, lr: float = 0.1, word: str = "w", version: int = 1, names: str = "") -> None:
    """Teacher, release, labels and student, and a step beside them."""
    songs = p.data(f"songs{names}", "recordings")
    teacher = p.train(f"teacher{names}", {"dset": "demo_tiny", "optim.lr": lr})
    released = p.export(f"released{names}", of=teacher)
    labels = p.tool(
        f"labels{names}",
        "toy",
        *("--word", released.model, "--in", songs.path / "a" / "mixture.wav", "--out", OUT),
        version=version,
    )
    student = p.train(
        f"student{names}",
        {"dset": "folder", "dset.root": labels.path, "dset.name": labels.signature},
    )
    p.export(f"release{names}", of=student)
    p.tool(f"beside{names}", "toy", "--word", word, "--out", OUT)


def ids(plan) -> list[str]:
    return [planned.id for planned in plan.steps.values()]


def changed(one, other) -> list[str]:
    return [name for name, a, b in zip(one.steps, ids(one), ids(other), strict=True) if a != b]


def test_a_plan_knows_every_name_and_writes_nothing(stage, songs):
    plan = stage.plan(whole, songs=songs)
    assert not Path(stage.lab.dora.dir).exists()
    steps = plan.steps
    labels, student = steps["labels"], steps["student"]
    assert steps["teacher"].id == f"train-{stage.lab.get_xp(steps['teacher'].xp.argv).sig}"
    assert labels.task.arguments == (
        *("--word", steps["teacher"].xp.sig),  # under which the repo finds the release
        *("--in", str(songs / "a" / "mixture.wav")),
        *("--out", str(labels.folder.path / "out")),
    )
    assert labels.folder.path == Path(stage.lab.dora.dir) / "pipelines" / "steps" / labels.id
    assert f'dset.root="{labels.path}"' in student.task.arguments
    assert f'dset.name="{labels.id}"' in student.task.arguments
    assert student.xp.cfg.dset.name == labels.id
    assert student.task.inputs == {"labels": labels.id}
    assert steps["release"].task.arguments[0] == student.xp.sig
    table = overview(plan, states(plan))
    lines = {line.split()[0]: line.split() for line in table.splitlines()[3:]}
    assert lines["songs"][1:] == [steps["songs"].id, "-", "given"]
    assert lines["teacher"][1:] == [steps["teacher"].id, "-", "to", "do"]
    assert lines["student"][1:] == [student.id, "labels", "waits", "for", "labels"]


def test_a_change_reaches_all_that_is_made_from_it_and_nothing_else(stage, songs):
    base = stage.plan(whole, songs=songs)
    behind_labels = ["labels", "student", "release"]

    def plan(**options):
        return stage.plan(lambda p: whole(p, **options), songs=songs)

    assert changed(base, plan()) == []
    assert changed(base, plan(lr=0.2)) == ["teacher", "released", *behind_labels]
    assert changed(base, plan(version=2)) == behind_labels
    assert changed(base, plan(word="v")) == ["beside"]
    (songs / "a" / "mixture.wav").write_text("other samples")
    assert changed(base, plan()) == ["songs", *behind_labels]


def test_signatures_do_not_depend_on_names_of_steps_nor_on_where_things_are(
    stage, songs, tmp_path, monkeypatch
):
    base = stage.plan(whole, songs=songs)
    elsewhere = tmp_path / "elsewhere" / "recordings"
    shutil.copytree(songs, elsewhere)
    monkeypatch.setattr(stage.lab.dora, "dir", tmp_path / "other outputs")
    monkeypatch.setenv("STEMGRID_REPO", str(tmp_path / "other models"))
    other = stage.plan(lambda p: whole(p, names="_2"), songs_2=elsewhere)
    assert ids(other) == ids(base)
    assert other.steps["labels_2"].path != base.steps["labels"].path


def test_content_is_names_and_bytes(songs):
    first = content_signature(songs)
    (songs / ".hidden").write_text("x")
    os.utime(songs / "a" / "mixture.wav", (1, 1))
    assert content_signature(songs) == first
    (songs / "a").rename(songs / "c")
    assert content_signature(songs) != first
    (songs / "c").rename(songs / "a")
    assert content_signature(songs) == first
    (songs / "b" / "mixture.wav").write_text("samples of B")
    assert content_signature(songs) != first
    one = content_signature(songs / "a" / "mixture.wav")
    assert one == content_signature(shutil.copy(songs / "a" / "mixture.wav", songs / "copy.wav"))


def test_a_path_may_not_enter_a_runs_signature(stage):
    def declare(p: Pipeline) -> None:
        made = p.tool("made", "toy", "--word", "w", "--out", OUT)
        p.train("run", {"continue_from": made.path, "dset.name": made.signature})

    with pytest.raises(ConfigError, match=r"run: continue_from: a path would enter"):
        stage.plan(declare)


def test_a_runs_signature_has_to_tell_what_it_is_made_from(stage, songs):
    def declare(p: Pipeline, told: str) -> None:
        songs = p.data("songs", "recordings")
        made = p.tool("made", "toy", "--word", "w", "--in", songs.path, "--out", OUT)
        keys = {"dset": "folder", "dset.root": songs.path, "dset.cache": made.path}
        named = {"made": made.signature, "songs": songs.signature, "nothing": "mine"}
        p.train("run", {**keys, "dset.name": named[told]})

    stage.plan(lambda p: declare(p, "made"), songs=songs)  # which tells of the songs, too
    with pytest.raises(ConfigError, match="run: depends on made, of which its signature tells"):
        stage.plan(lambda p: declare(p, "songs"), songs=songs)
    with pytest.raises(ConfigError, match="run: depends on songs, of which"):
        stage.plan(lambda p: declare(p, "nothing"), songs=songs)


def test_a_signature_of_digits_stays_a_name(stage):
    seed = next(n for n in itertools.count() if _get_sig([("seed", n)]).isdigit())

    def declare(p: Pipeline) -> None:
        released = p.export("released", of=p.train("run", {"seed": seed}))
        p.train("next", {"continue_from": released.model})

    plan = stage.plan(declare)
    assert plan.steps["next"].xp.cfg.continue_from == plan.steps["run"].xp.sig


def test_jobs_ask_for_what_the_pipeline_and_its_steps_say(stage):
    def declare(p: Pipeline) -> None:
        p.slurm_(gpus=8, time=99)
        run = p.train("run", {"seed": 1}, slurm={"time": 7})
        p.tool("made", "toy", "--word", "w", "--out", OUT)
        p.export("released", of=run)

    asked = {name: step.slurm for name, step in stage.plan(declare).steps.items()}
    assert [(slurm.gpus, slurm.time) for slurm in asked.values()] == [(8, 7), (1, 99), (0, 60)]

    def wrong(p: Pipeline) -> None:
        p.slurm_(gpu=8)
        p.train("run", {"seed": 1})

    with pytest.raises(ConfigError, match=r"gpu is no setting of a job\. Did you mean 'gpus'\?"):
        stage.plan(wrong)


def test_steps_are_checked_as_they_are_declared():
    p, other = Pipeline(), Pipeline()
    run = p.train("run", {})
    with pytest.raises(ConfigError, match="run: two steps have this name"):
        p.train("run", {"seed": 1})
    with pytest.raises(ConfigError, match="'Run 2': no name of a step"):
        p.train("Run 2", {})
    with pytest.raises(ConfigError, match="released: refers to run of another pipeline"):
        other.export("released", of=run)


def test_the_same_step_twice_is_refused(stage):
    def declare(p: Pipeline) -> None:
        p.train("one", {"seed": 1, "loss": "mse"})
        p.train("two", {"loss": "mse", "seed": 1})

    with pytest.raises(ConfigError, match=r"two: is the same as one \(train-\w+\)"):
        stage.plan(declare)


def test_a_tool_has_to_be_there(stage):
    with pytest.raises(ConfigError, match=r"made: tools\.toys: there is no such module"):
        stage.plan(lambda p: p.tool("made", "tools.toys"))
    with pytest.raises(ConfigError, match=r"made: toys\.made: there is no such module"):
        stage.plan(lambda p: p.tool("made", "toys.made"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label_nose"], "label_nose: there is no such pipeline. Did you mean 'label_noise'?"),
        (["label_noise"], "noisy: the pipeline is made from songs some of whose labels are wrong;"),
        (["label_noise", "--data", "noise=x"], "--data noise: the pipeline takes no such data."),
        (["label_noise", "--data", "noisy=/no/such"], "/no/such: no file is there"),
        (["label_noise", "-o", "seed=1"], "seed=1: would make other runs than the pipeline's"),
    ],
)
def test_mistakes_are_one_sentence(lab, capsys, arguments, message):
    assert main([*arguments, "--plan"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"pipeline: {message}")
    assert printed.err.count("\n") == 1


def test_a_step_is_chosen_by_its_name(stage, songs):
    plan = stage.plan(whole, songs=songs)
    with pytest.raises(ConfigError, match=r"--until label: toy has no such step\. Did you mean"):
        plan.require("label", "--until")
    with pytest.raises(ConfigError, match="--from songs: toy has no such step"):
        plan.require("songs", "--from")
    assert list(plan.needed("labels")) == ["teacher", "released", "labels"]
    assert plan.behind("released") == ["released", "labels", "student", "release"]


GROUPS = {"variant", "dset", "targets", "model", "augment", "loss", "optim", "schedule", "distill"}


@pytest.mark.parametrize("name", pipeline_names())
def test_a_pipeline_asks_a_question_and_its_runs_bind_every_main_axis(
    lab, songs, name, monkeypatch
):
    pipeline = load_pipeline(name)
    doc = __import__(f"tools.pipelines.{name}", fromlist=["pipeline"]).__doc__
    assert doc.splitlines()[0].endswith("?")
    given = {step.name: songs for step in pipeline.steps.values() if isinstance(step, Data)}
    plan = make_plan(lab, name, pipeline, given)
    runs = [planned for planned in plan.steps.values() if planned.xp is not None]
    assert len(runs) == 2
    assert len({planned.xp.sig for planned in runs}) == 2
    for planned in runs:
        bound = {part.split("=", 1)[0] for part in planned.xp.argv}
        assert bound >= GROUPS | {"test", "seed"}


def test_the_pipelines_are_these_and_dora_takes_none_for_a_grid():
    from tools.grid_runs import grid_names

    assert pipeline_names() == ["label_noise", "pseudo_label"]
    assert not any("pipeline" in name for name in grid_names())
