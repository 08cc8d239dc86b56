"""From a release and options to the engine that separates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch

from mss.api.exported import ExportedNetworks, find_exported
from mss.api.exporting import ExportJob, export_store, run_export
from mss.api.memory import chunk_memory, song_memory, streamed_memory
from mss.api.options import WHOLE, SeparationOptions
from mss.api.probe import Tuning, make_probe, tune
from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.accelerate import AcceleratedModel, Acceleration, choose_acceleration
from mss.infer.backends import available_backends
from mss.infer.backends.openvino import Precision as ExportedPrecision
from mss.infer.backends.store import ExportBackend
from mss.infer.bag import Bag, bag_chunk_fn
from mss.infer.engine import Engine, ModelEngine
from mss.infer.out_of_memory import FrugalChunks, shortest_piece
from mss.infer.output_map import two_stems
from mss.infer.selection import select_sources
from mss.infer.shifts import draw_shifts
from mss.release.repo import Release

WORTH_EXPORTING = 180.0
"""Seconds of audio from which on a network is exported. HTDemucs on two cores: exporting takes 50
s, and saves 15 to 20 s a minute of audio, then and ever after."""


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


@dataclass(frozen=True)
class Work:
    """What is going to be separated, seconds: of all songs together, and of the longest."""

    seconds: float = 0.0
    longest: float = 0.0


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
        self._exported: dict[ExportBackend, ExportedNetworks | None] = {}
        self._tuning = Tuning(options.threads or torch.get_num_threads(), options.batch_size or 1)
        self._work = Work()
        self.inference = _inference(release.inference, options)
        self._members: Sequence[Separator] = release.members
        self._weights: Sequence[Sequence[float]] | None = release.weights
        if wanted := _wanted(options):  # what only the others need is not run
            self._members, self._weights = select_sources(release.members, release.weights, wanted)
        self._engine(bag_chunk_fn(self._members, self._weights))  # refuses what makes no sense
        if options.backend in ("openvino", "onnx"):
            self._check_exportable(options.backend)
            self.export(options.backend)

    @property
    def spec(self) -> AudioSpec:
        return self._members[0].spec

    @property
    def threads(self) -> int:
        """CPU threads, of all songs together."""
        return self._tuning.threads

    @property
    def batch_size(self) -> int:
        """Chunks separated together."""
        return self._tuning.batch_size

    def worth_exporting(self, work: Work) -> ExportBackend | None:
        """Return the runtime that may be faster and has no exported network yet.

        None: there is none, or exporting would take longer than it saves.
        """
        if self._options.backend != "auto" or not self._exportable or not self._may_round:
            return None
        if work.seconds < WORTH_EXPORTING or any(map(self._find, _installed())):
            return None
        return next(iter(_installed()), None)

    def export(self, backend: ExportBackend) -> None:
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
                    batch=self.batch_size,
                    frames=self._frames,
                    plugins=self._plugins,
                )
            )
            del self._exported[backend]
            if self._find(backend) is None:
                raise ConfigError(f"backend: {backend} was exported and can't be found; use torch")

    def prepare(self, work: Work) -> None:
        """Choose threads, batch and the rest by what is to be separated, by trying where it pays.

        See mss.api.probe.
        """
        self._work = work
        options = self._options
        if self._choose() is None:
            chunk_fn = bag_chunk_fn(self._members, self._weights)
            probe = make_probe(
                lambda _: chunk_fn, self._members, self.inference, self._device, "torch float32"
            )
            self._tuning = tune(probe, options.threads, options.batch_size, work.seconds)

    def build(self, jobs: int = 1) -> BuiltEngine:
        """Return the engine for `jobs` songs at once."""
        networks = self._choose()
        if networks is None:
            chunk_fn, backend = self._torch()
        else:
            precision = self._rounding(networks)
            chunk_fns = networks.chunk_fns(precision, self.threads, jobs)
            chunk_fn = chunk_fns[0]
            if len(chunk_fns) > 1:
                chunk_fn = Bag(chunk_fns, [model.spec for model in self._members], self._weights)
            backend = f"{networks.backend} {precision}"
        shortest = shortest_piece(self._members)
        frugal = FrugalChunks(chunk_fn, self.spec, shortest, self._device)
        return BuiltEngine(self._engine(frugal), self.inference, backend, self._memory())

    def _torch(self) -> tuple[ChunkFn, str]:
        """Return torch's chunk function, and what it is called."""
        measured = self._tuning.measured
        how = choose_acceleration(
            self._device,
            self._options.precision,
            self._options.compile,
            self._work.seconds,
            measured.speed if measured else None,
        )
        members = self._members
        if how != Acceleration():
            frames = None if self.inference.segment is None else self._frames
            members = [AcceleratedModel(one, how, self.batch_size, frames) for one in members]
        return bag_chunk_fn(members, self._weights), f"torch {how.precision}"

    def _rounding(self, networks: ExportedNetworks) -> ExportedPrecision:
        """Return the precision of exported networks, as asked for or the fastest that is close."""
        if self._options.precision == "tf32":
            raise ConfigError(f"precision: {networks.backend} has no tf32; give float32 or bf16")
        if self._options.precision != "auto":
            asked: ExportedPrecision = "bf16" if self._options.precision == "bf16" else "float32"
            if asked == "bf16" and networks.precision != "bf16":
                raise ConfigError(
                    f"precision: {self._name} in bf16 is not faster here, or too far from float32; "
                    "give float32, or leave the option out"
                )
            return asked
        return networks.precision

    def _memory(self) -> int:
        """Return an estimate of the bytes that the longest song takes."""
        segment, measured = self.inference.segment, self._tuning.measured
        frames = self.spec.frames(Fraction(10)) if segment is None else self._frames
        peak = measured.memory_bytes if measured else None
        if peak is None:
            peak = chunk_memory(self._members, frames, self.batch_size, self._device)
        if segment is not None:
            return streamed_memory(peak, self.spec, frames)
        fixed = chunk_memory(self._members, 0, 1, self._device)
        whole = max(frames, int(self._work.longest * self.spec.samplerate))
        return song_memory(peak, fixed, whole, frames)

    def _engine(self, chunk_fn: ChunkFn) -> Engine:
        options = self._options
        # the same for every song: a file and an array give the same, whatever the file is called
        shifts = draw_shifts(options.shifts, self.spec.samplerate, options.seed, "")
        engine: Engine = ModelEngine(chunk_fn, self.spec, self.inference, self.batch_size, shifts)
        if options.two_stems is not None:
            engine = two_stems(engine, options.two_stems)
        return engine

    def _choose(self) -> ExportedNetworks | None:
        """Return the exported networks to run; None: torch's."""
        backend = self._options.backend
        if backend in ("openvino", "onnx"):
            return self._find(backend)
        if backend == "auto" and self._exportable and self._may_round:
            there = [found for name in _installed() if (found := self._find(name)) is not None]
            return next((networks for networks in there if networks.faster), None)
        return None

    def _find(self, backend: ExportBackend) -> ExportedNetworks | None:
        """Return the exported networks; looked for once, since that reads all the weights."""
        if backend not in self._exported:
            self._exported[backend] = find_exported(
                export_store(self._repo),
                self._members,
                backend,
                self.batch_size,
                self._frames,
            )
        return self._exported[backend]

    @property
    def _exportable(self) -> bool:
        return self._device.type == "cpu" and self.inference.segment is not None

    @property
    def _may_round(self) -> bool:
        """Whether exported networks offer the precision that is asked for; if not, torch may."""
        return self._options.precision in ("auto", "float32", "bf16") and not self._options.compile

    @property
    def _frames(self) -> int:
        assert self.inference.segment is not None
        return self.spec.frames(self.inference.segment)

    def _check_exportable(self, backend: str) -> None:
        if self._device.type != "cpu":
            raise ConfigError(f"backend: {backend} runs on the CPU; give --device cpu, or torch")
        if self._options.compile:
            raise ConfigError(f"compile: is torch's; {backend} compiles by itself. Leave it out")
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
