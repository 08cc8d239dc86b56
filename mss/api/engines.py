"""From a release and options to the engine that separates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mss.api.exported import ExportedNetworks, find_exported
from mss.api.exporting import ExportJob, export_store, run_export
from mss.api.options import WHOLE, SeparationOptions
from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.backends import available_backends
from mss.infer.backends.store import ExportBackend
from mss.infer.bag import Bag, bag_chunk_fn
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


class EngineBuilder:
    """Builds a release's engine; with options.backend "auto", for what is fastest of what is there.

    Args:
        release: loaded onto the device.
        options: how it is run.
        device: where.
        repo: the folder that the release lies in.
        plugins: whether a plug-in may give its architecture.

    Raises:
        ConfigError: options that don't fit the release.
        DataError: a network that has to be exported can't be written.
    """

    def __init__(
        self,
        release: Release,
        options: SeparationOptions,
        device: torch.device,
        repo: Path,
        plugins: bool = False,
    ) -> None:
        self._name = release.name
        self._options = options
        self._device = device
        self._repo = repo
        self._plugins = plugins
        self._exported: dict[ExportBackend, ExportedNetworks] = {}
        self.inference = _inference(release.inference, options)
        self._members: Sequence[Separator] = release.members
        self._weights: Sequence[Sequence[float]] | None = release.weights
        if wanted := _wanted(options):  # what only the others need is not run
            self._members, self._weights = select_sources(release.members, release.weights, wanted)
        self._engine(bag_chunk_fn(self._members, self._weights))  # refuses what makes no sense
        if options.backend in ("openvino", "onnx"):
            self._check_exportable(options.backend)
            self.prepare(options.backend)

    @property
    def spec(self) -> AudioSpec:
        return self._members[0].spec

    @property
    def can_prepare(self) -> ExportBackend | None:
        """The runtime that may be faster and has no exported network yet; None: there is none."""
        if self._options.backend != "auto" or not self._exportable:
            return None
        missing = (name for name in _installed() if self._find(name) is None)
        return next(missing, None) if not self._exported else None

    def prepare(self, backend: ExportBackend) -> None:
        """Export what is not exported yet; a large network takes about a minute.

        Raises:
            ConfigError: the runtime can't take the network over.
            DataError: the export can't be written.
        """
        if self._find(backend) is None:
            run_export(
                ExportJob(
                    repo=str(self._repo),
                    name=self._name,
                    sources=_wanted(self._options),
                    backend=backend,
                    batch=self._options.batch_size,
                    frames=self._frames,
                    plugins=self._plugins,
                )
            )
            if self._find(backend) is None:
                raise ConfigError(f"backend: {backend} was exported and can't be found; use torch")

    def build(self, jobs: int = 1) -> BuiltEngine:
        """Return the engine for `jobs` songs at once."""
        threads = self._options.threads or torch.get_num_threads()
        networks = self._choose()
        if networks is None:
            chunk_fn, backend = bag_chunk_fn(self._members, self._weights), "torch"
        else:
            precision = networks.precision
            chunk_fns = networks.chunk_fns(precision, threads, jobs)
            chunk_fn = chunk_fns[0]
            if len(chunk_fns) > 1:
                chunk_fn = Bag(chunk_fns, [model.spec for model in self._members], self._weights)
            backend = f"{networks.backend} {precision}"
        return BuiltEngine(self._engine(chunk_fn), self.inference, backend)

    def _engine(self, chunk_fn: ChunkFn) -> Engine:
        options = self._options
        # the same for every song: a file and an array give the same, whatever the file is called
        shifts = draw_shifts(options.shifts, self.spec.samplerate, options.seed, "")
        engine: Engine = ModelEngine(
            chunk_fn, self.spec, self.inference, options.batch_size, shifts
        )
        if options.two_stems is not None:
            engine = two_stems(engine, options.two_stems)
        return engine

    def _choose(self) -> ExportedNetworks | None:
        """Return the exported networks to run; None: torch's."""
        backend = self._options.backend
        if backend in ("openvino", "onnx"):
            return self._find(backend)
        if backend == "auto" and self._exportable:
            there = [found for name in _installed() if (found := self._find(name)) is not None]
            return next((networks for networks in there if networks.faster), None)
        return None

    def _find(self, backend: ExportBackend) -> ExportedNetworks | None:
        if backend not in self._exported:
            found = find_exported(
                export_store(self._repo),
                self._members,
                backend,
                self._options.batch_size,
                self._frames,
            )
            if found is not None:
                self._exported[backend] = found
        return self._exported.get(backend)

    @property
    def _exportable(self) -> bool:
        return self._device.type == "cpu" and self.inference.segment is not None

    @property
    def _frames(self) -> int:
        assert self.inference.segment is not None
        return self.spec.frames(self.inference.segment)

    def _check_exportable(self, backend: str) -> None:
        if self._device.type != "cpu":
            raise ConfigError(f"backend: {backend} runs on the CPU; give --device cpu, or torch")
        if self.inference.segment is None:
            raise ConfigError(
                f"backend: {backend} needs chunks of one length; give a segment in seconds, or "
                "torch"
            )


def _installed() -> list[ExportBackend]:
    """Return the runtimes beside torch, the one that is faster for most models first."""
    order: tuple[ExportBackend, ...] = ("openvino", "onnx")
    return [name for name in order if name in available_backends()]


def _wanted(options: SeparationOptions) -> tuple[str, ...]:
    """Return the sources that have to be estimated; empty: all."""
    if options.two_stems is not None:
        return (options.two_stems,)
    return options.stems


def _inference(defaults: InferenceDefaults, options: SeparationOptions) -> InferenceDefaults:
    if options.segment is not None:
        segment = None if options.segment == WHOLE else options.seconds
        defaults = replace(defaults, segment=segment)
    if options.overlap is not None:
        defaults = replace(defaults, overlap=options.overlap)
    return defaults
