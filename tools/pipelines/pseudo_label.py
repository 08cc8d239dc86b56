"""Does a student that hears songs without stems, too, do better than the teacher who labelled them?

    labelled songs -> teacher -> released -> labels of `songs` -> filter, student -> release

`--data songs=DIR` is a folder of recordings. Every label comes with its scores, and the student
takes the better half of them by one (`distill.select`): the filter is part of the student's
signature, and another filter needs no new labels. Both runs train alike otherwise, within the
budget of `make demo`; for real music take the values of grids/baselines.py.
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
        *("--teacher", released.model, "--repo", released.path),
        *("--in", songs.path, "--out", OUT),
        resumes=True,
    )
    learned: dict[str, Value] = {
        "distill": "pseudo_label",
        "distill.root": labels.path,
        "distill.songs": labels.signature,
        "distill.share": 0.5,
        "distill.select.by": "agreement",
        "distill.select.keep": 0.5,
    }
    student = p.train("student", {**BUDGET, **learned})
    p.export("release", of=student)
