"""From a release and options to the engine that separates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mss.api.options import WHOLE, SeparationOptions
from mss.core.separator import Separator
from mss.core.types import InferenceDefaults
from mss.infer.bag import bag_chunk_fn
from mss.infer.engine import Engine, ModelEngine
from mss.infer.output_map import two_stems
from mss.infer.selection import select_sources
from mss.infer.shifts import draw_shifts
from mss.release.repo import Release


@dataclass(frozen=True)
class BuiltEngine:
    """An engine, and what was chosen for it.

    Attributes:
        engine: what separates.
        inference: the release's defaults with the options' changes.
        backend: what runs the network.
        memory_bytes: an estimate of the peak for one song; None: unknown.
    """

    engine: Engine
    inference: InferenceDefaults
    backend: str
    memory_bytes: int | None = None


def build_engine(release: Release, options: SeparationOptions) -> BuiltEngine:
    """Return the engine of a release.

    Raises:
        ConfigError: options that don't fit the release.
    """
    inference = release.inference
    if options.segment is not None:
        segment = None if options.segment == WHOLE else options.seconds
        inference = replace(inference, segment=segment)
    if options.overlap is not None:
        inference = replace(inference, overlap=options.overlap)
    # the same for every song: a file and an array give the same, whatever the file is called
    shifts = draw_shifts(options.shifts, release.spec.samplerate, options.seed, "")
    members: Sequence[Separator] = release.members
    weights: Sequence[Sequence[float]] | None = release.weights
    spec = release.spec
    wanted = options.stems or ((options.two_stems,) if options.two_stems is not None else ())
    if wanted:  # what only the others need is not run
        members, weights = select_sources(members, weights, wanted)
        spec = members[0].spec
    chunk_fn = bag_chunk_fn(members, weights)
    engine: Engine = ModelEngine(chunk_fn, spec, inference, options.batch_size, shifts)
    if options.two_stems is not None:
        engine = two_stems(engine, options.two_stems)
    return BuiltEngine(engine, inference, "torch")
