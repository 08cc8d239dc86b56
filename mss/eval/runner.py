"""The evaluation of a set of songs: shared among ranks and processes, and taken up where it ended.

Every song's result is a file as soon as it is known, and the summary is made from those files. So
what a rank or a process has scored, and what an earlier start has, counts in the same way.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.multiprocessing
from tqdm import tqdm

from mss.core import distrib
from mss.core.errors import DataError
from mss.core.targets import TargetMap
from mss.core.types import Track
from mss.eval.estimators import Estimator, read_song
from mss.eval.evaluate import TrackResult, score_song
from mss.eval.results import ResultsFolder
from mss.eval.summary import Summary
from mss.metrics.base import Metric


def evaluate_set(
    estimator: Estimator,
    tracks: Sequence[Track],
    targets: TargetMap,
    metrics: Sequence[Metric],
    folder: ResultsFolder,
    workers: int = 0,
    progress: bool = False,
    anew: bool = False,
) -> Summary:
    """Score every song that has no result yet, and write the summary.

    With several ranks (a process group) each takes its share of the songs; all of them call this,
    and all of them return the summary.

    Args:
        estimator: gives each song's estimates; runs in this process.
        tracks: the songs.
        targets: which stems sum to which source.
        metrics: what to measure.
        folder: where results go, and lie from an earlier start.
        workers: processes that score while this one separates the next songs; 0: none. Each has as
            many threads as this one, so the scores are the same.
        progress: show a progress bar, where the standard error is a terminal.
        anew: score songs that have a result again.

    Raises:
        DataError: there is no song, a song can't be read, or an estimate is not a number.
        ConfigError: the folder holds results that were made otherwise.
    """
    if not tracks:
        raise DataError("0 tracks: there is no song to evaluate; check dset and test.split")
    with folder.claim() if distrib.is_main() else nullcontext():
        # the main process decides: what others see of the folder may be a moment old
        missing = distrib.broadcast(_missing(tracks, folder, anew) if distrib.is_main() else None)
        assert missing is not None
        own = [tracks[index] for index in missing[distrib.rank() :: distrib.world_size()]]
        hidden = None if progress and distrib.is_main() else True
        with (
            tqdm(desc="evaluate", total=len(own), disable=hidden) as bar,
            _scorer(workers, targets, metrics) as score,
        ):
            for result in score(estimator, own):
                folder.write_track(result)
                bar.update()

        distrib.barrier()
        results = [folder.read_track(track.name) for track in tracks]
        known = [result for result in results if result is not None]
        assert len(known) == len(tracks), "a rank left a song without a result"
        if distrib.is_main():
            folder.write_summary(known)
        distrib.barrier()
        return folder.summarise(known)


def _missing(tracks: Sequence[Track], folder: ResultsFolder, anew: bool) -> list[int]:
    """Prepare the folder; return which songs have no result in it."""
    folder.prepare(anew)
    missing = [index for index, track in enumerate(tracks) if not folder.read_track(track.name)]
    if missing:
        folder.drop_summary()
    return missing


Score = Callable[[Estimator, Sequence[Track]], Iterator[TrackResult]]


@contextmanager
def _scorer(workers: int, targets: TargetMap, metrics: Sequence[Metric]) -> Iterator[Score]:
    """Give the function that separates songs and yields their results, in any order of time."""

    def here(estimator: Estimator, tracks: Sequence[Track]) -> Iterator[TrackResult]:
        for track in tracks:
            song = read_song(track, targets)
            yield score_song(song, estimator(song), targets.sources, metrics)

    if not workers:
        yield here
        return

    pool = ProcessPoolExecutor(
        workers,
        # a fork would copy a process that has threads and maybe a GPU
        mp_context=torch.multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(torch.get_num_threads(), os.getpid()),
    )

    def elsewhere(estimator: Estimator, tracks: Sequence[Track]) -> Iterator[TrackResult]:
        pending: deque[Future[TrackResult]] = deque()
        for track in tracks:
            # bounds the songs that wait in memory
            while len(pending) > workers:
                yield pending.popleft().result()
            estimates = estimator(read_song(track, targets)).cpu().numpy()
            pending.append(pool.submit(_score_estimates, track, estimates, targets, metrics))
        while pending:
            yield pending.popleft().result()

    try:
        yield elsewhere
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(threads: int, parent: int) -> None:
    """Work with as many threads as the main process, and end where that was killed."""
    torch.set_num_threads(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _score_estimates(
    track: Track, estimates: np.ndarray, targets: TargetMap, metrics: Sequence[Metric]
) -> TrackResult:
    """Score estimates in another process, which reads the references itself.

    They come as an array through a pipe: shared memory is small in many containers.
    """
    song = read_song(track, targets)
    return score_song(song, torch.from_numpy(estimates), targets.sources, metrics)
