"""Separation that goes on where memory runs out: smaller batches, then shorter chunks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from threading import Lock

import torch
from torch import Tensor

from mss.core.errors import StemgridError
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn
from mss.infer.plan import Plan
from mss.infer.streamer import Streamer

logger = logging.getLogger(__name__)

SHORTEST = Fraction(1)
"""Seconds. A chunk is not cut into shorter pieces: models hear too little music in them."""

# What says that memory is short, where it is no torch.OutOfMemoryError: torch's CPU allocator, its
# MPS backend, cuBLAS, cuDNN, and ONNX Runtime. oneDNN does not say why it could not do a thing;
# another fault than memory stays with less work, too, and is named in the end.
_PHRASES = (
    "defaultcpuallocator",
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",
    "failed to allocate memory",
    "could not create a primitive",
    "could not execute a primitive",
    "could not create a memory object",
)


class OutOfMemoryError(StemgridError):
    """The least that can be separated at once takes more memory than there is."""


class _TooMuch(Exception):  # noqa: N818
    """What was asked for takes more memory than there is; the limits have been lowered."""


class FrugalChunks:
    """A chunk function that answers a lack of memory with less work at a time.

    Batches are halved down to one chunk. Then a chunk is cut into 2, 4, 8, ... pieces, each of
    which the next one overlaps by a quarter, and which the Streamer puts together again. What
    turned out to fit is kept for all that follows, and each step is told once. Cut chunks sound
    slightly different: a model hears less of the music around each sample.

    It may be called by several threads. What they then lack may be the others' share.

    Args:
        chunk_fn: [B, C, T] -> [B, S, C, T], for any B and T.
        spec: what it takes and gives.
        shortest: samples; no piece is shorter. See shortest_piece.
        device: where the work is done, for messages and for its cache.
        tell: told each step in a sentence; None: it is logged as a warning.
    """

    def __init__(
        self,
        chunk_fn: ChunkFn,
        spec: AudioSpec,
        shortest: int,
        device: torch.device | str = "cpu",
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._chunk_fn = chunk_fn
        self._spec = spec
        self._shortest = shortest
        self._device = torch.device(device)
        self._tell = tell or logger.warning
        self._batch: int | None = None  # at most so many chunks at a time; None: no limit known
        self._piece: int | None = None  # at most so many samples of a chunk at a time
        self._lock = Lock()

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, C, T] into [B, S, C, T].

        Raises:
            OutOfMemoryError: one chunk, or its shortest piece, is too much.
        """
        while True:
            # the batch anew after each step: what is done of it would take memory meanwhile
            with contextlib.suppress(_TooMuch):
                return self._within_limits(chunks)
            # Only here: as long as an exception lives, its frames hold what was computed so far.
            free_cached_memory(self._device)

    def _within_limits(self, chunks: Tensor) -> Tensor:
        """Separate [B, C, T] into [B, S, C, T]; raises _TooMuch after the limits were lowered."""
        batch, piece = self._batch, self._piece
        if piece is None or chunks.shape[-1] <= piece:
            parts = torch.split(chunks, batch or len(chunks))
            done = [self._attempt(part) for part in parts]
            return done[0] if len(done) == 1 else torch.cat(done)
        plan = _cut(self._spec, chunks.shape[-1], piece)
        separated = []
        for chunk in chunks:
            streamer = Streamer(self._attempt, plan)
            separated.append(torch.cat([streamer.feed(chunk), streamer.flush()], dim=-1))
        return torch.stack(separated)

    def _attempt(self, chunks: Tensor) -> Tensor:
        """Separate the chunks; where memory runs out, lower the limits and raise _TooMuch."""
        try:
            # a copy: the function may work in place, and fail after that
            return self._chunk_fn(chunks.clone())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        self._ask_for_less(len(chunks), chunks.shape[-1], reason)
        raise _TooMuch

    def _ask_for_less(self, batch: int, length: int, reason: str) -> None:
        """Lower a limit after `batch` chunks of `length` samples were too much."""
        with self._lock:
            if batch > 1:
                smaller = math.ceil(batch / 2)
                if self._batch is None or smaller < self._batch:
                    self._batch = smaller
                    self._tell(
                        f"{self._device}: out of memory; goes on with batches of {smaller} "
                        f"(--batch-size {smaller} avoids the attempt)"
                    )
                return
            if self._piece is not None and self._piece < length:
                return  # another thread has found out
            piece = _piece_length(length, 2)
            if piece < self._shortest or piece >= length:
                raise OutOfMemoryError(self._nothing_left(length, reason))
            self._batch = 1
            self._piece = piece
            seconds = piece / self._spec.samplerate
            self._tell(
                f"{self._device}: out of memory; goes on with chunks cut into pieces of at most "
                f"{seconds:.3g} s (--segment {seconds:.3g} avoids the attempt)"
            )

    def _nothing_left(self, length: int, reason: str) -> str:
        seconds = length / self._spec.samplerate
        elsewhere = "--device cpu" if self._device.type != "cpu" else "a machine with more memory"
        return (
            f"{self._device}: out of memory with one chunk of {seconds:.3g} s, and none below "
            f"{self._shortest / self._spec.samplerate:.3g} s is tried ({reason}). Take "
            f"{elsewhere}, close what else uses the memory, separate fewer songs at once (--jobs), "
            "or give a shorter --segment."
        )


def shortest_piece(models: Sequence[Separator]) -> int:
    """Return the samples below which a chunk of these models is not cut.

    A model that lengthens what is too short to a whole segment (its tails are "centred": HTDemucs)
    takes no less memory for less; cutting below its segment would only be slower.
    """
    return max(
        model.spec.frames(max(SHORTEST, model.segment))
        if model.inference.tail == "centred"
        else model.spec.frames(SHORTEST)
        for model in models
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a lack of memory, on a device or on the machine, from other faults.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."))
    True
    >>> is_out_of_memory(RuntimeError("shapes do not match"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)


def free_cached_memory(device: torch.device) -> None:
    """Give unused memory back, a device's or the C library's, to who needs it in larger pieces."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif device.type == "xpu":
        torch.xpu.empty_cache()


def _piece_length(length: int, count: int) -> int:
    """Return the samples of each of `count` pieces that cover `length`, overlap included.

    Piece k starts at k * ceil(length / count); the last one ends with the chunk.
    """
    return min(length, math.ceil(math.ceil(length / count) * 4 / 3))


def _cut(spec: AudioSpec, length: int, longest: int) -> Plan:
    """Return the grid of the fewest pieces of at most `longest` samples that cover `length`."""
    count = math.ceil(length * 4 / 3 / longest)
    while _piece_length(length, count) > longest:  # for what is rounded up
        count += 1
    return Plan(
        sources=len(spec.sources),
        channels=spec.channels,
        segment=_piece_length(length, count),
        stride=math.ceil(length / count),
    )
