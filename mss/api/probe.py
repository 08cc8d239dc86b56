"""How many threads and chunks at a time suit a model on this machine: tried once, then known.

On a CPU one chunk is separated with all threads that there are and with half of them (two threads
of one core share its arithmetic). More chunks together gained nothing there. On a GPU batches of 1,
2, 4 and 8 chunks are tried as long as each is faster by a twentieth and there is memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from mss.api.device import device_title, free_memory
from mss.api.memory import PeakMemory
from mss.api.threads import available_threads, torch_threads
from mss.core.cache import cache_root
from mss.core.files import write_json_atomic
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.backends.store import model_digest
from mss.infer.out_of_memory import free_cached_memory, is_out_of_memory
from mss.infer.plan import make_plan

BATCHES = (1, 2, 4, 8)
WORTH_IT = 1.05
"""How many times as fast another setting has to be."""

PROBE_CHUNKS = {"cpu": 3, "cuda": 30}
"""The most chunks that a probe separates."""
WORTH_PROBING = 10
"""A probe takes at most one such part of the work, by the number of chunks."""
GUESSED_GPU_BATCH = 4
"""Where a GPU is not probed."""

_SECONDS = Fraction(10)  # of a chunk, where songs are separated whole
_FORM = 1  # of what is kept


@dataclass(frozen=True)
class Measurement:
    """What a probe found.

    Attributes:
        threads: CPU threads of one song.
        batch_size: chunks separated together.
        speed: seconds of a song that are separated in a second; overlap is accounted for.
        memory_bytes: peak, of the process (CPU) or of what torch took (GPU); None: not known.
    """

    threads: int
    batch_size: int
    speed: float
    memory_bytes: int | None


@dataclass(frozen=True)
class Tuning:
    """What runs.

    Attributes:
        threads, batch_size: as in Measurement.
        measured: what they were chosen by, or what was seen of this setting; None: a guess, or
            asked for.
    """

    threads: int
    batch_size: int
    measured: Measurement | None = None


@dataclass(frozen=True)
class Probe:
    """What is tried.

    Attributes:
        chunk_fn: returns [B, C, T] -> [B, S, C, T] for a number of threads.
        spec: what it takes and gives.
        frames: samples of a chunk.
        stride: samples from one chunk to the next.
        device: where.
        content: says what is computed and by what: model_digest of each member, and the backend.
    """

    chunk_fn: Callable[[int], ChunkFn]
    spec: AudioSpec
    frames: int
    stride: int
    device: torch.device
    content: str

    def key(self) -> str:
        """Return what a result holds for: the work, the machine and torch."""
        about = (
            _FORM,
            self.content,
            self.frames,
            self.stride,
            device_title(torch.device("cpu")),
            available_threads(),
            str(self.device),
            device_title(self.device),
            torch.__version__,
        )
        return hashlib.sha256(repr(about).encode()).hexdigest()[:32]


def make_probe(
    chunk_fn: Callable[[int], ChunkFn],
    members: Sequence[Separator],
    inference: InferenceDefaults,
    device: torch.device,
    backend: str,
) -> Probe:
    """Return the probe of a release's models.

    Args:
        chunk_fn: of all of them, for a number of threads; see Probe.
        members: the models, of one spec.
        inference: how they are run; whole songs are tried by a chunk of 10 s.
        device: where.
        backend: what runs the network.
    """
    spec = members[0].spec
    plan = make_plan(spec, inference)
    frames = plan.segment or spec.frames(_SECONDS)
    content = " ".join([backend, *map(model_digest, members)])
    return Probe(chunk_fn, spec, frames, plan.stride or frames, device, content)


def tune(
    probe: Probe,
    threads: int | None = None,
    batch_size: int | None = None,
    audio_seconds: float | None = None,
) -> Tuning:
    """Return what suits a model: as asked for, as known from before, as tried now, or a guess.

    It is tried where the probe's chunks are at most a tenth of the work's (30 chunks on a CPU, 3
    minutes for 7.8 s; 300 on a GPU), and where there is something to choose.

    Args:
        probe: what to try.
        threads, batch_size: as asked for; None: to be chosen.
        audio_seconds: length of what is to be separated; None: not known, so nothing is tried.
    """
    guess = Tuning(
        threads or available_threads(),
        batch_size or (GUESSED_GPU_BATCH if probe.device.type == "cuda" else 1),
    )
    found = _read(_path(probe))
    if found is None:
        on_gpu = probe.device.type != "cpu"
        chosen = batch_size is not None if on_gpu else threads is not None
        nothing_to_choose = chosen or (not on_gpu and available_threads() == 1)
        if nothing_to_choose or not _is_worth_it(probe, audio_seconds):
            return guess
        found = best(probe)
        remember(probe, found)
    tuned = Tuning(threads or found.threads, batch_size or found.batch_size)
    same = (tuned.threads, tuned.batch_size) == (found.threads, found.batch_size)
    return replace(tuned, measured=found) if same else tuned


def remember(probe: Probe, found: Measurement) -> None:
    """Keep what was found in the user's cache; where that can't be written, nothing is kept."""
    with contextlib.suppress(OSError):  # it is tried again next time
        write_json_atomic(_path(probe), asdict(found))


def best(probe: Probe) -> Measurement:
    """Return the fastest of what is tried."""
    every = available_threads()
    if probe.device.type == "cpu":
        tried = [measure(probe, every, 1, warm_up=True)]
        if every > 1:
            tried.append(measure(probe, every // 2, 1))
        fastest = max(tried, key=lambda one: one.speed)
        return fastest if fastest.speed > WORTH_IT * tried[0].speed else tried[0]
    found = measure(probe, every, 1, warm_up=True)
    for batch_size in BATCHES[1:]:
        free = free_memory(probe.device)
        # twice the chunks take up to twice the memory, and what torch keeps is not free
        if free is not None and found.memory_bytes is not None and free < found.memory_bytes:
            break
        try:
            larger = measure(probe, every, batch_size, warm_up=True)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            free_cached_memory(probe.device)
            break
        if larger.speed < WORTH_IT * found.speed:
            break
        found = larger
    return found


def measure(probe: Probe, threads: int, batch_size: int = 1, warm_up: bool = False) -> Measurement:
    """Separate a batch of noise and return how fast that was and what it took.

    Args:
        probe: what to try.
        threads, batch_size: with what.
        warm_up: separate it twice, and look at the second time: the first one plans and allocates.
    """
    chunk_fn = probe.chunk_fn(threads)
    with torch_threads(threads):
        chunks = _noise(probe, batch_size)
        if warm_up:
            _run(chunk_fn, chunks, probe.device)
        with PeakMemory(probe.device) as peak:
            start = time.perf_counter()
            _run(chunk_fn, chunks, probe.device)
            seconds = time.perf_counter() - start
    audio = batch_size * probe.stride / probe.spec.samplerate
    return Measurement(threads, batch_size, audio / seconds, peak.bytes)


def _is_worth_it(probe: Probe, audio_seconds: float | None) -> bool:
    if audio_seconds is None:
        return False
    chunks = audio_seconds * probe.spec.samplerate / probe.stride
    cost = PROBE_CHUNKS["cpu" if probe.device.type == "cpu" else "cuda"]
    return chunks >= WORTH_PROBING * cost


def _run(chunk_fn: ChunkFn, chunks: Tensor, device: torch.device) -> None:
    chunk_fn(chunks.clone())  # a copy: it may work in place
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _noise(probe: Probe, batch_size: int) -> Tensor:
    """Return chunks [B, C, T]; silence would be separated faster, or slower, than music."""
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(batch_size, probe.spec.channels, probe.frames, generator=generator)


def _path(probe: Probe) -> Path:
    return cache_root() / "probe" / f"{probe.key()}.json"


def _read(path: Path) -> Measurement | None:
    """Return what a probe left; None: nothing, or nothing that can be understood."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        memory = raw["memory_bytes"]
        found = Measurement(
            int(raw["threads"]),
            int(raw["batch_size"]),
            float(raw["speed"]),
            None if memory is None else int(memory),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.threads >= 1 and found.batch_size >= 1 else None
