"""Does a student that hears songs without stems, too, do better than the teacher who labelled them?

    labelled songs -> teacher -> release -> labels of `songs` -> student -> release

`--data songs=DIR` is a folder of recordings. The student takes the labels by the weights that the
teacher's labeller gave them (`distill.select`), so what is chosen is part of its signature, and
another choice needs no new labels. Both runs train alike otherwise, within the budget of `make
demo`; for real music take the values of grids/baselines.py.
"""

from tools.pipeline_steps import OUT, Pipeline, Value

BUDGET: dict[str, Value] = {
    "variant": "demo",
    "dset": "demo",
    "targets": "all",
    "model": "openunmix_tiny",
    "augment": "default",
    "loss": "l1",
    "optim": "adam",
    "schedule": "cosine",
    "test": "fast",
    "seed": 42,
}


def pipeline(p: Pipeline) -> None:
    """Declare the steps."""
    songs = p.data("songs", "recordings of which there are no stems")
    teacher = p.train("teacher", {**BUDGET, "distill": "none"})
    released = p.export("released", of=teacher)
    labels = p.tool(
        "labels",
        "tools.pseudo_label",
        *("--teacher", released.model, "--in", songs.path, "--out", OUT),
        resumes=True,
    )
    learned: dict[str, Value] = {
        "distill": "pseudo_label",
        "distill.root": labels.path,
        "distill.songs": labels.signature,
        "distill.share": 0.5,
        "distill.select.by": "weight",
    }
    student = p.train("student", {**BUDGET, **learned})
    p.export("release", of=student)
