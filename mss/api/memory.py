"""How much memory a separation takes: measured while a chunk is separated, or by a formula."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch

from mss.core.separator import Separator
from mss.core.types import AudioSpec

PROCESS_BYTES = 300 << 20
"""Of a process that has imported torch and done nothing."""
BYTES_PER_SAMPLE = 1200
"""Of the mixture, a sample of one channel: what a network holds of it at its worst moment. 0.1 GiB
a second of 44.1 kHz stereo; README's table has 0.01 (spleeter) to 0.09 (htdemucs, d3net), and 0.2
for mdx23c."""

_SHARE = 0.9
"""More of the free memory than this is too much."""

_STATM = Path("/proc/self/statm")
_EVERY = 0.002  # seconds between two looks


class PeakMemory:
    """The most bytes that were in use during a `with` block, by the process or on a GPU.

    The process's own high-water mark is left alone, since others read it: a thread looks at what is
    resident every 2 ms.

    Attributes:
        bytes: the peak, after the block; None: this platform does not tell.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes: int | None = None
        self._device = device
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._device.type == "cpu" and _STATM.exists():
            self._thread = threading.Thread(target=self._watch, name="peak memory")
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self.bytes = torch.cuda.max_memory_allocated(self._device)
        elif self._thread is not None:
            self._stop.set()
            self._thread.join()

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            resident = int(_STATM.read_text().split()[1]) * page
            self.bytes = max(resident, self.bytes or 0)
            if self._stop.wait(_EVERY):
                return


def chunk_memory(
    models: Sequence[Separator], frames: int, batch_size: int, device: torch.device
) -> int:
    """Return an estimate, for want of a measurement, of the bytes that one batch of chunks takes.

    The process (on a CPU), the weights, and `BYTES_PER_SAMPLE` of the chunks.

    Args:
        models: the members of a bag, which run one after the other.
        frames: samples of a chunk.
        batch_size: chunks separated together.
        device: where.
    """
    weights: int = sum(value.nbytes for model in models for value in model.state_dict().values())
    base = PROCESS_BYTES if device.type == "cpu" else 0
    samples = batch_size * models[0].spec.channels * frames
    return base + weights + BYTES_PER_SAMPLE * samples


def song_memory(peak: int, fixed: int, frames: int, chunk_frames: int) -> int:
    """Return the bytes that a whole song at once takes, from the peak of one chunk.

    What is above `fixed` grows with the length: linearly, as convolutions, recurrences and
    attention that never holds its matrix do.

    Args:
        peak: bytes while the chunk was separated.
        fixed: bytes of these that are there without it: the process, the weights.
        frames: samples of the song.
        chunk_frames: samples of the chunk.
    """
    return fixed + max(0, peak - fixed) * frames // chunk_frames


def streamed_memory(peak: int, spec: AudioSpec, frames: int) -> int:
    """Return the bytes that a song in chunks takes: the peak of one, and the sums of two chunks."""
    return peak + 2 * 4 * len(spec.sources) * spec.channels * frames


def memory_warning(needed: int, free: int | None, whole: bool) -> str | None:
    """Return what to tell before the work starts, where memory is not going to be enough.

    A warning, no refusal: it is an estimate, and what is free may change. Where it was right, and
    the system does not just end the program, FrugalChunks answers.

    Args:
        needed: bytes, of all songs at once.
        free: bytes; None: not known.
        whole: whether each song is separated at once.
    """
    if free is None or needed <= _SHARE * free:
        return None
    remedy = "--segment 10 takes the song in chunks" if whole else "give a shorter --segment"
    return (
        f"this takes about {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free: "
        f"it may be ended by the system, or become very slow; {remedy}, and fewer --jobs take less"
    )
