"""Keyed generators: the same key the same draws, any other key other ones."""

import subprocess
import sys

import torch

from mss.core.rng import derive_seed, numpy_generator, torch_generator


def test_the_same_key_draws_the_same():
    assert numpy_generator(1, "crop", 2).random() == numpy_generator(1, "crop", 2).random()
    first = torch.rand(3, generator=torch_generator(1, "a"))
    assert torch.equal(first, torch.rand(3, generator=torch_generator(1, "a")))


def test_every_part_of_the_key_and_its_order_count():
    keys = [(1, 2), (2, 1), (1, 2, 0), ("1", 2), (12,), ("a", "b"), ("ab",), ("a\x1fstr:b",)]
    assert len({derive_seed(*key) for key in keys}) == len(keys)


def test_seeds_do_not_depend_on_the_process():
    code = "from mss.core.rng import derive_seed; print(derive_seed(7, 'crop', 3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == derive_seed(7, "crop", 3)


def test_seeds_spread_evenly():
    """Chi-squared over 16 bins of consecutive keys stays below its 99.99 % point (44.3)."""
    bins = [0] * 16
    for index in range(4096):
        bins[derive_seed(0, index) >> 59] += 1
    assert sum((count - 256) ** 2 / 256 for count in bins) < 44.3
