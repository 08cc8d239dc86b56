"""One side of a comparison in a process of its own, which works when told."""

import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError
from tools.bench_pair import Side


@dataclass(frozen=True)
class Turn:
    """One turn: how much was done, and what it took.

    Attributes:
        done: in the pair's unit.
        wall: seconds.
        cpu: seconds of this process on all of its threads.
    """

    done: float
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        """Units a second by the clock on the wall."""
        return self.done / self.wall


class Worker:
    """Prepares `side` in a fresh process and lets it take turns.

    Raises:
        ConfigError: the process ended, as it does where the side can't be prepared.
    """

    def __init__(self, side: Side, options: dict[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # no daemon: a loader's side starts processes of its own
        self._process = context.Process(target=_serve, args=(side, options, theirs))
        with _threads_of_libraries(options["threads"]):
            self._process.start()
        theirs.close()

    def turn(self) -> Turn:
        turn: Turn = self._ask("turn")
        return turn

    def peak_gib(self) -> float:
        """Return the most memory (GiB) the process has held, or its GPU's."""
        return float(self._ask("peak"))

    def growth_gib(self) -> float | None:
        """Return how far the turns' peak lies above what the prepared side held (GiB).

        None where the system does not tell (Linux does).
        """
        growth: float | None = self._ask("growth")
        return growth

    def _ask(self, what: str) -> Any:
        try:
            self._pipe.send(what)
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise ConfigError("one side of the comparison ended; see above") from error

    def end(self) -> None:
        self._pipe.close()
        self._process.join()


@contextmanager
def _threads_of_libraries(count: int) -> Iterator[None]:
    """Let a process that is started now have so many threads in NumPy's and SciPy's BLAS, too."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(side: Side, options: dict[str, Any], pipe: Connection) -> None:
    import torch

    torch.set_num_threads(options["threads"])
    work = side(options)
    gc.collect()
    held = _reset_peak_kib()
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        if asked == "peak":
            pipe.send(_peak_gib(options["device"]))
        elif asked == "growth":
            peak = _status_kib("VmHWM")
            pipe.send(None if held is None or peak is None else (peak - held) / 2**20)
        else:
            pipe.send(_timed(work))


def _peak_gib(device: str) -> float:
    import torch

    from mss.solver.progress import peak_gib

    kib = _status_kib("VmHWM")
    if device == "cpu" and kib is not None:
        return kib / 2**20  # getrusage would tell of the process that started this one, too
    return peak_gib(torch.device(device))


def _timed(work: Callable[[], float]) -> Turn:
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return Turn(done, time.perf_counter() - wall, time.process_time() - cpu)


def _reset_peak_kib() -> int | None:
    """Let the kernel count this process's peak anew; return what it holds now (KiB)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed
        return None
    return _status_kib("VmRSS")


def _status_kib(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(values[0]) if values else None
