"""A pipeline through Dora, the release and a tool: each step once, by what it is made from."""

import json

import pytest

pytestmark = pytest.mark.integ

TOY = '''
"""Does a chain hold?"""

from tools.pipeline_steps import OUT, Pipeline

BUDGET = {
    "variant": "debug", "dset": "demo_tiny", "model": "openunmix_tiny", "train.items": 4,
    "train.epochs": 1, "model.hidden_size": 16, "model.nb_layers": 1,
}


def pipeline(p: Pipeline) -> None:
    teacher = p.train("teacher", BUDGET)
    released = p.export("released", of=teacher)
    p.tool(
        "scores", "tools.test_pretrained", "-n", released.model, "--repo", released.path,
        "-o", OUT, "dset=demo_tiny",
    )
    student = p.train("student", {**BUDGET, "continue_from": released.model})
    p.export("release", of=student)
'''


@pytest.mark.timeout(300)
def test_a_chain_of_runs_releases_and_tools(lab):
    path = lab.root / "tools" / "pipelines" / "toy.py"
    path.write_text(TOY)
    command = ("tools.pipeline", "toy")
    planned = lab.run(*command, "--plan")
    assert not lab.runs.exists()
    assert "waits for released" in planned

    printed = lab.run(*command, "--local", "--jobs", "2", "-o", "misc.threads=1")
    table = printed[printed.rindex("Pipeline toy") :].splitlines()[2:]
    steps = {line.split()[0]: line.split()[1] for line in table if line.endswith("done")}
    assert list(steps) == ["teacher", "released", "scores", "student", "release"]
    assert all(step in planned for step in steps.values())
    runs = {path.name for path in lab.runs.iterdir()}
    assert runs == {steps[name].removeprefix("train-") for name in ("teacher", "student")}
    teacher, student = (steps[name].removeprefix("train-") for name in ("teacher", "student"))
    provenance = json.loads((lab.runs / student / "provenance.json").read_text())
    assert teacher in provenance["continued_from"]
    released = json.loads((lab.root / "release_models" / "index.json").read_text())["models"]
    assert [entry["signature"] for entry in released] == [teacher, student]
    (summary,) = (lab.root / "outputs" / "pipelines" / "steps" / steps["scores"]).rglob(
        "summary.json"
    )
    assert "nsdr" in summary.read_text()

    before = {path: path.stat().st_mtime_ns for path in lab.runs.rglob("*") if path.is_file()}
    assert "starts on" not in lab.run(*command, "--local")
    assert before == {
        path: path.stat().st_mtime_ns for path in lab.runs.rglob("*") if path.is_file()
    }

    path.write_text(TOY.replace('"train.items": 4', '"train.items": 8'))
    changed = lab.run(*command, "--plan")
    assert not any(step in changed for step in steps.values())
