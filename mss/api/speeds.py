"""How fast this machine is on released models, by each runtime, and what it would choose."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch

from mss.api.checks import fault_of
from mss.api.device import choose_device
from mss.api.engines import BuiltEngine, EngineBuilder
from mss.api.options import Backend, SeparationOptions
from mss.api.probe import Measurement, Probe, best, make_probe, measure, remember
from mss.core.errors import StemgridError
from mss.core.types import ChunkFn
from mss.infer.backends import available_backends
from mss.infer.engine import ModelEngine
from mss.release.repo import Release, Repo

Scope = Literal["default", "all"]


@dataclass(frozen=True)
class Speed:
    """What one runtime does with one model.

    Attributes:
        model: full name.
        device: such as "cpu" or "cuda:0".
        backend: the runtime.
        precision: of its products.
        threads: CPU threads.
        batch_size: chunks separated together.
        speed: seconds of a song a second; None: see `error`.
        memory_bytes: peak, of the process or of the GPU; None: not known.
        chosen: whether `stemgrid separate` would take it.
        error: why there is no speed.
    """

    model: str
    device: str
    backend: str
    precision: str = ""
    threads: int = 0
    batch_size: int = 0
    speed: float | None = None
    memory_bytes: int | None = None
    chosen: bool = False
    error: str | None = None


def model_speeds(
    repo: str | os.PathLike[str] | None, scope: Scope, device: str = "auto"
) -> Iterator[Speed]:
    """Yield the speeds of released models.

    Args:
        repo: folder of released models; None: the default one.
        scope: "default": the default model, by torch and by what has been exported already: a few
            chunks. "all": every model and bag, exported for every runtime first: minutes.
        device: as --device.

    Raises:
        DataError: no models, or a damaged index.
        ConfigError: no such device.
    """
    folder, where = Repo(repo), choose_device(device)
    names = [folder.resolve().name]
    if scope == "all":
        names = [*(entry.name for entry in folder.entries()), *folder.bag_names()]
    for name in names:
        try:
            release = folder.load(name, where)
            yield from _of_release(release, folder, where, scope == "all")
        except Exception as error:  # see mss.api.checks.alone
            yield Speed(name, str(where), "torch", error=_told(error))


def _of_release(
    release: Release, repo: Repo, device: torch.device, export: bool
) -> Iterator[Speed]:
    backends: list[Backend] = ["torch"]
    if export and device.type == "cpu":
        backends += [name for name in ("openvino", "onnx") if name in available_backends()]
    found: list[Speed] = []
    for backend in backends:
        try:
            found.append(_of_backend(release, repo, device, backend))
        except Exception as error:  # see mss.api.checks.alone
            found.append(Speed(release.name, str(device), backend, error=_told(error)))
    chosen = _build(release, repo, device, "auto").backend.partition(" ")[0]
    if all(speed.backend != chosen for speed in found):
        found.append(_of_backend(release, repo, device, "auto"))
    yield from (replace(speed, chosen=speed.backend == chosen) for speed in found)


def _of_backend(release: Release, repo: Repo, device: torch.device, backend: Backend) -> Speed:
    built = _build(release, repo, device, backend)
    probe = _probe(release, built, device)
    # an exported network has its threads and its one shape of chunks already
    if built.backend.partition(" ")[0] == "torch":
        found = best(probe)
        remember(probe, found)
    else:
        found = measure(probe, torch.get_num_threads(), warm_up=True)
    return _speed(release.name, device, built.backend, found)


def _build(release: Release, repo: Repo, device: torch.device, backend: Backend) -> BuiltEngine:
    options = SeparationOptions(backend=backend)
    return EngineBuilder(release, options, device, repo.root).build()


def _probe(release: Release, built: BuiltEngine, device: torch.device) -> Probe:
    engine = built.engine
    assert isinstance(engine, ModelEngine), "no option asked for another engine"
    chunk_fn = engine.chunk_fn

    def for_threads(_threads: int) -> ChunkFn:
        return chunk_fn

    return make_probe(for_threads, release.members, built.inference, device, built.backend)


def _speed(model: str, device: torch.device, backend: str, found: Measurement) -> Speed:
    name, _, precision = backend.partition(" ")
    return Speed(
        model,
        str(device),
        name,
        precision or "float32",
        found.threads,
        found.batch_size,
        found.speed,
        found.memory_bytes,
    )


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, StemgridError) else fault_of(error)
