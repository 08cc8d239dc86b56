"""Does a model learn more from those songs alone whose labels it finds right itself?

    noisy songs -> first -> judge -> filter -> second -> release

`--data noisy=ROOT` is a folder of songs as of dset=labelnoise, such as tools.plant_noise makes one.
Both runs train alike, the first on all songs, the second on what the filter leaves of them. Their
budget is that of `make demo`; for real music take the values of grids/baselines.py.
"""

from tools.pipeline_steps import OUT, Pipeline, Value

BUDGET: dict[str, Value] = {
    "variant": "demo",
    "targets": "all",
    "model": "openunmix_tiny",
    "augment": "default",
    "loss": "l1",
    "optim": "adam",
    "schedule": "cosine",
    "distill": "none",
    "test": "fast",
    "seed": 42,
}

KEPT = 0.7  # of the songs


def pipeline(p: Pipeline) -> None:
    """Declare the steps."""
    noisy = p.data("noisy", "songs some of whose labels are wrong")
    songs: dict[str, Value] = {"dset": "labelnoise", "dset.root": noisy.path}
    first = p.train("first", {**BUDGET, **songs, "dset.name": noisy.signature})
    judge = p.export("judge", of=first)
    clean = p.tool(
        "filter",
        "tools.filter_noise",
        *("--in", noisy.path, "--out", OUT / "clean.csv"),
        *("-n", judge.model, "--repo", judge.path),
        # no model of this budget sets a stem off by 20 dB: the songs that it knows best, instead
        *("--keep", KEPT),
        resumes=True,
    )
    filtered: dict[str, Value] = {
        "dset.manifest": clean.path / "clean.csv",
        "dset.per_stem": True,
        "dset.name": clean.signature,
    }
    second = p.train("second", {**BUDGET, **songs, **filtered})
    p.export("release", of=second)
