"""Exported networks on the disk: made once, checked against torch, kept beside the release."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.files import file_sha256, write_json_atomic
from mss.core.separator import Separator
from mss.core.types import ChunkFn
from mss.infer.backends import onnx, openvino
from mss.infer.backends.exported import (
    Network,
    Shapes,
    agreement_db,
    example_inputs,
    exported_chunk_fn,
    probe_mixture,
    shapes_of,
)
from mss.infer.separate import model_chunk_fn

ExportBackend = Literal["openvino", "onnx"]

FOLDER = ".exported"
"""Of exported networks, in a repo of released models."""

FORM = 1
"""Of what is exported; another number, and everything is exported anew."""

EXACT_DB = 80.0
"""What float32 has to agree with torch: 1e-4 of the amplitude. Other orders of sums give 110."""
ROUNDED_DB = 55.0
"""What bfloat16 has to agree with torch; below, float32 is used."""

_ABOUT = "about.json"

_LONG = 5.0
"""Seconds."""


@dataclass(frozen=True)
class About:
    """What is known of an exported network.

    Attributes:
        shapes: of its inputs.
        files: SHA-256 by name.
        agreement_db: with torch's network, on noise, by precision; what was not measured (a CPU
            without bfloat16) is missing.
        seconds: that a batch of chunks took where it was exported, by precision, and "torch".
    """

    shapes: Shapes
    files: dict[str, str]
    agreement_db: dict[str, float]
    seconds: dict[str, float]


def model_digest(model: Separator) -> str:
    """Return a name for what a model computes: its class, configuration, spec and weights."""
    digest = hashlib.sha256()
    kind = type(model)
    digest.update(f"{kind.__module__}.{kind.__qualname__} {model.config} {model.spec}".encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


class ExportStore:
    """A folder of exported networks.

    Args:
        root: is made when the first one is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, model: Separator, backend: ExportBackend, batch: int, frames: int) -> Path:
        """Return where the network of a model lies, or would lie."""
        runtime = openvino.version() if backend == "openvino" else onnx.version()
        what = f"{FORM} {model_digest(model)} {runtime} {batch} {frames}"
        return self.root / f"{backend}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"

    def find(self, folder: Path) -> About | None:
        """Return what is known of the network in a folder; None: none is there, whole."""
        try:
            raw = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            about = About(
                shapes=tuple(tuple(shape) for shape in raw["shapes"]),
                files=raw["files"],
                agreement_db=raw["agreement_db"],
                seconds=raw["seconds"],
            )
            whole = all(file_sha256(folder / name) == sha for name, sha in about.files.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # an export that was damaged is made anew
        return about if whole else None

    def prepare(
        self, model: Separator, backend: ExportBackend, batch: int, frames: int
    ) -> tuple[Path, About]:
        """Export a model's network, unless it is here, and compare it with torch's.

        Args:
            model: in evaluation mode, on the CPU.
            backend: the runtime.
            batch, frames: chunks [B, C, T] that it is for.

        Returns:
            Its folder, and what is known of it.

        Raises:
            ConfigError: it can't be exported, or gives another result than torch.
            DataError: the folder can't be written.
        """
        folder = self.folder(model, backend, batch, frames)
        if (about := self.find(folder)) is not None:
            return folder, about
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f".{folder.name}.lock"):
                if (about := self.find(folder)) is not None:  # another process was first
                    return folder, about
                for left in self.root.glob(f".{folder.name}.*/"):  # by a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=self.root))
                try:
                    about = _export(model, backend, batch, frames, draft)
                    shutil.rmtree(folder, ignore_errors=True)
                    draft.chmod(0o755)
                    os.replace(draft, folder)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
        except OSError as error:
            raise DataError(
                f"{self.root}: an exported network can't be written ({error.strerror}); check the "
                "permissions and the free space, or use --backend torch"
            ) from error
        return folder, about

    def chunk_fn(
        self,
        model: Separator,
        backend: ExportBackend,
        folder: Path,
        about: About,
        threads: int,
        streams: int = 1,
        precision: openvino.Precision = "float32",
    ) -> ChunkFn:
        """Return the chunk function of a model with its exported network.

        Args:
            model: in evaluation mode, on the CPU.
            folder, about: as `prepare` or `find` told.
            threads: CPU threads, of all calls together.
            streams: calls that may run at once.
            precision: of the products that the model lets be rounded (OpenVINO only).
        """

        def load() -> Network:
            return _load(backend, folder, threads, streams, precision)

        return exported_chunk_fn(model, load, about.shapes)


def choose_precision(about: About) -> openvino.Precision:
    """Return bf16 where that is faster on this CPU and was seen to stay close enough."""
    if about.agreement_db.get("bf16", -math.inf) < ROUNDED_DB or not openvino.has_bf16():
        return "float32"
    return "bf16" if about.seconds["bf16"] < about.seconds["float32"] else "float32"


def _export(
    model: Separator, backend: ExportBackend, batch: int, frames: int, folder: Path
) -> About:
    """Export into a folder, compare, and describe what lies there."""
    mix = probe_mixture(model.spec, batch, frames)
    inputs = example_inputs(model, mix)
    (openvino if backend == "openvino" else onnx).export(model, inputs, folder)
    shapes, threads = shapes_of(inputs), torch.get_num_threads()
    expected, torch_seconds = _timed(model_chunk_fn(model), mix)
    seconds = {"torch": torch_seconds}
    precisions: list[openvino.Precision] = ["float32"]
    if backend == "openvino" and model.rounded_modules and openvino.has_bf16():
        precisions.append("bf16")
    agreement: dict[str, float] = {}
    for precision in precisions:
        load = functools.partial(_load, backend, folder, threads, 1, precision)
        found, seconds[precision] = _timed(exported_chunk_fn(model, load, shapes), mix)
        decibels = agreement_db(expected, found)
        # JSON knows neither infinity nor NaN
        agreement[precision] = min(decibels, 300.0) if decibels > 0 else 0.0
    if not agreement["float32"] >= EXACT_DB:
        raise ConfigError(
            f"backend: {type(model).__name__} through {backend} agrees with torch to "
            f"{agreement['float32']:.0f} dB only, not to {EXACT_DB:.0f}; use torch"
        )
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    about = About(shapes, files, agreement, seconds)
    write_json_atomic(folder / _ABOUT, asdict(about))
    return about


def _timed(chunk_fn: ChunkFn, mix: Tensor) -> tuple[Tensor, float]:
    """Return what a chunk function gives, and the seconds that it takes once it is warm."""
    result = mix
    for _ in range(2):
        start = time.perf_counter()
        result = chunk_fn(mix)
        seconds = time.perf_counter() - start
        if seconds > _LONG:  # then what comes first only is a small part of it
            break
    return result, seconds


def _load(
    backend: ExportBackend,
    folder: Path,
    threads: int,
    streams: int,
    precision: openvino.Precision,
) -> Network:
    if backend == "openvino":
        return openvino.load(folder, threads, streams, precision)
    return onnx.load(folder, threads)
