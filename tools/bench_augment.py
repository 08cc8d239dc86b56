"""What the augmentations in a loader's workers cost."""

import itertools
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tools.bench_loader import SEGMENTS
from tools.bench_pair import Pair

STEMS = ("drums", "bass", "other", "vocals")

STRETCHED = 4
"""Segments of four stems in one turn of a backend."""


def _spec() -> Any:
    from mss.core.types import AudioSpec

    return AudioSpec(STEMS)


def stretched(options: dict[str, Any], backend: str) -> Callable[[], float]:
    """Segments of four stereo stems, each of them changed in pitch and tempo by one backend."""
    import torch

    from mss.augment.loader import make_loader_augment
    from mss.core.rng import numpy_generator

    chain = make_loader_augment({"soundstretch": {"proba": 1, "backend": backend}}, _spec())
    assert chain is not None
    augment = chain.for_segments(int(options["seconds"] * 44100))
    frames = augment.output_frames[-1] + augment.extra_frames
    stems = 0.1 * torch.randn(len(STEMS), 2, frames, generator=torch.Generator().manual_seed(0))
    items = itertools.count()

    def stretch() -> float:
        for _ in range(STRETCHED):
            augment(stems, STEMS, numpy_generator("bench", next(items)))
        return float(STRETCHED)

    return stretch


def loaded(options: dict[str, Any], augment: str) -> Callable[[], float]:
    """The loader of a training with two workers and `augment`'s part in them."""
    from mss.augment.loader import make_loader_augment
    from mss.build import build_dataset
    from mss.compose import OmegaConf, compose_config
    from mss.data.loader import SegmentLoader
    from mss.data.segments import SegmentDataset

    config = compose_config(["dset=demo", f"augment={augment}"])
    values: Any = OmegaConf.to_container(config.augment)
    chain = make_loader_augment(values.get("loader") or {}, _spec())
    frames = int(options["seconds"] * 44100)
    loader = SegmentLoader(
        SegmentDataset(
            build_dataset(config).split("train"),
            frames,
            items_per_epoch=SEGMENTS,
            seed=0,
            loader_augment=chain.for_segments(frames) if chain else None,
        ),
        batch_size=4,
        num_workers=2,
    )
    epochs = itertools.count()

    def read() -> float:
        return float(sum(len(batch.stems) for batch in loader.epoch(next(epochs))))

    return read


def _python_stretch() -> str:
    try:
        return f"python-stretch {version('python-stretch')}"
    except PackageNotFoundError:  # its side tells so when it is asked for
        return "python-stretch"


AUGMENT_PAIRS = [
    Pair(
        "stretch",
        "segments",
        partial(stretched, backend="soundstretch"),
        partial(stretched, backend="python-stretch"),
        _python_stretch(),
    ),
    Pair(
        "loader-soundstretch",
        "segments",
        partial(loaded, augment="soundstretch"),
        partial(loaded, augment="default"),
        "augment=default, 2 workers",
    ),
]
