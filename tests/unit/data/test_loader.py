"""Batches: neither workers nor ranks nor a resume changes them."""

import multiprocessing
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.types import Batch
from mss.data.folder import FolderDataset
from mss.data.loader import SegmentLoader, make_loader
from mss.data.segments import SegmentDataset


@pytest.fixture
def root(tmp_path: Path, cache_folder: Path, write_song) -> Path:
    for seed, name in enumerate(("train/a", "train/b", "valid/c")):
        write_song(tmp_path / "set" / name, 2000, seed)
    return tmp_path / "set"


@pytest.fixture
def dataset(root: Path) -> SegmentDataset:
    tracks = FolderDataset(FolderDataset.Config(root=str(root))).split("train")
    return SegmentDataset(tracks, 256, items_per_epoch=14, seed=5)


def stems_of(batches: Iterable[Batch]) -> Tensor:
    return torch.stack([batch.stems for batch in batches])


def test_a_batch_holds_consecutive_items(dataset: SegmentDataset) -> None:
    batches = list(make_loader(dataset, 4, epoch=3))
    assert len(batches) == 3  # of 14 items, 2 fill no batch
    for step, batch in enumerate(batches):
        expected = torch.stack([dataset[(3, 4 * step + item)].stems for item in range(4)])
        assert torch.equal(batch.stems, expected)
        assert torch.equal(batch.mix, expected.sum(dim=1))
        assert batch.names == ("drums", "bass", "other", "vocals")
        assert batch.trust.shape == (4, 4)


def test_workers_change_nothing(dataset: SegmentDataset) -> None:
    alone = stems_of(make_loader(dataset, 2, epoch=1))
    for workers in (1, 2):
        assert torch.equal(stems_of(make_loader(dataset, 2, 1, num_workers=workers)), alone)


def test_ranks_share_the_global_batch(dataset: SegmentDataset) -> None:
    whole = stems_of(make_loader(dataset, 4, epoch=0))  # [steps, B, ...]
    ranks = [
        stems_of(make_loader(dataset, 4, epoch=0, rank=rank, world_size=2)) for rank in range(2)
    ]
    assert torch.equal(torch.cat(ranks, dim=1), whole)


def test_resumes_at_a_step(dataset: SegmentDataset) -> None:
    whole = stems_of(make_loader(dataset, 2, epoch=1))
    assert torch.equal(stems_of(make_loader(dataset, 2, 1, first_step=4)), whole[4:])
    assert list(make_loader(dataset, 2, epoch=1, first_step=7)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_one_pool_serves_epochs_also_unfinished_ones(dataset: SegmentDataset, workers: int) -> None:
    expected = [stems_of(make_loader(dataset, 2, epoch)) for epoch in range(3)]
    with SegmentLoader(dataset, 2, num_workers=workers) as loader:
        assert len(loader) == loader.steps == 7
        assert torch.equal(stems_of(loader.epoch(0)), expected[0])
        pool = {process.pid for process in multiprocessing.active_children()}
        unfinished = loader.epoch(1)
        assert torch.equal(next(unfinished).stems, expected[1][0])
        assert torch.equal(stems_of(loader.epoch(2, first_step=3)), expected[2][3:])
        assert {process.pid for process in multiprocessing.active_children()} == pool
        assert len(pool) == workers


@pytest.mark.parametrize("workers", [0, 2])
def test_leaves_the_global_generators_alone(dataset: SegmentDataset, workers: int) -> None:
    """Else a resumed run, which starts the loader once more, would draw other numbers."""
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    with SegmentLoader(dataset, 2, num_workers=workers) as loader:
        for epoch in range(2):
            list(loader.epoch(epoch))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_users_mistake_arrives_as_it_is(
    dataset: SegmentDataset, root: Path, workers: int
) -> None:
    for song in "ab":
        path = root / "train" / song / "bass.wav"
        path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError) as caught:
        list(make_loader(dataset, 2, epoch=0, num_workers=workers))
    assert "bass.wav" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert multiprocessing.active_children() == []


def test_workers_end_with_an_interrupted_loop(dataset: SegmentDataset) -> None:
    def interrupted() -> None:
        with SegmentLoader(dataset, 2, num_workers=2) as loader:
            for _ in loader.epoch(0):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert multiprocessing.active_children() == []


class Signals:
    """A loader augmentation that tells how its process treats signals, and its threads."""

    extra_frames = 0

    def __call__(
        self, stems: Tensor, names: tuple[str, ...], generator: np.random.Generator
    ) -> Tensor:
        facts = [
            signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
            signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN,
            torch.get_num_threads() == 1,
            os.getpid() != self.parent,
        ]
        return torch.tensor(facts, dtype=torch.float32).repeat(4, 2, stems.shape[-1] // 4)

    parent = os.getpid()


def test_workers_leave_signals_to_the_main_process(dataset: SegmentDataset) -> None:
    dataset.loader_augment = Signals()
    batch = next(iter(make_loader(dataset, 2, epoch=0, num_workers=1)))
    assert batch.stems.all(), batch.stems[0, 0, 0]


def test_a_job_s_signals_end_no_worker_until_the_loader_is_closed(dataset: SegmentDataset) -> None:
    """A scheduler signals every process of a job; the main one reads on to where it can stop."""
    before = set(multiprocessing.active_children())
    loader = SegmentLoader(dataset, 2, num_workers=2)
    batches = loader.epoch(0)
    first, _ = next(batches), next(batches)  # one of each worker: both have started
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    for worker in workers:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            os.kill(worker.pid, signal.Signals(signum))
    rest = list(batches)
    assert 2 + len(rest) == len(loader)
    assert torch.equal(first.stems, next(iter(make_loader(dataset, 2, epoch=0))).stems)
    loader.close()
    for worker in workers:  # a TERM ends one now, as it is sent at the exit of the process
        worker.terminate()
        worker.join(10)
        assert not worker.is_alive()


def test_refuses_what_does_not_divide(dataset: SegmentDataset) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size: 4 .* multiple of 3"):
        SegmentLoader(dataset, 4, world_size=3)
    with pytest.raises(ConfigError, match=r"train\.batch_size: 16 is more than the 14 items"):
        SegmentLoader(dataset, 16)
    with pytest.raises(ValueError, match="step 8"):
        list(SegmentLoader(dataset, 2).epoch(0, first_step=8))


def test_pickles_for_started_workers(dataset: SegmentDataset) -> None:
    """Platforms that start workers rather than fork them pickle the data set."""
    import pickle

    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[(0, 3)].stems, dataset[(0, 3)].stems)
