"""The table of what a model gave for each segment when it last met it."""

import pytest
import torch
from toy_run import STEMS, references, surroundings, toy_batch

from mss.core.errors import DataError
from mss.core.types import Progress
from mss.distill.progressive import ProgressiveConfig, ProgressiveDistillation

EPOCHS, ITEMS = 5, 8


def table(folder):
    run = surroundings(folder, fixed_crops=True)
    return ProgressiveDistillation(ProgressiveConfig(teacher="stored", alpha=0.5), run)


def batch_of(crops):
    return toy_batch(len(crops), crops=torch.tensor(crops))


def given(epoch, crop):
    """What the model gives for a crop in an epoch: a constant that tells both."""
    return torch.full((len(STEMS), 2, 200), 100.0 * epoch + crop)


def epoch_of(provider, epoch, order, until=None):
    """Go through an epoch in batches of two; returns what was taught."""
    taught = {}
    for step in range(ITEMS // 2 if until is None else until):
        crops = order[2 * step : 2 * step + 2]
        batch, at = batch_of(crops), Progress(epoch, EPOCHS, step, ITEMS // 2)
        target = provider(batch, references(batch), at)
        alpha = 0.5 * (epoch + 1) / EPOCHS if epoch else 0
        for row, crop in enumerate(crops):
            if alpha:
                p = (target.sources[row] - (1 - alpha) * batch.stems[row]) / alpha
                taught[crop] = p.mean().item()
        provider.on_estimate(batch, torch.stack([given(epoch, crop) for crop in crops]), at)
    if until is None:
        provider.on_epoch_end(None)
    return taught


ORDERS = [[0, 1, 2, 3, 4, 5, 6, 7], [7, 2, 5, 0, 1, 6, 3, 4], [3, 1, 4, 0, 5, 7, 2, 6]]


def test_each_crop_meets_what_was_given_for_it_in_the_epoch_before(tmp_path):
    provider = table(tmp_path)
    assert provider.needs_estimates
    assert epoch_of(provider, 0, ORDERS[0]) == {}
    for epoch in (1, 2):
        taught = epoch_of(provider, epoch, ORDERS[epoch])
        expected = {crop: 100.0 * (epoch - 1) + crop for crop in range(ITEMS)}
        assert taught == pytest.approx(expected, abs=1e-2)


def test_a_run_killed_within_an_epoch_is_taught_the_same_again(tmp_path):
    provider = table(tmp_path)
    epoch_of(provider, 0, ORDERS[0])
    epoch_of(provider, 1, ORDERS[1])
    epoch_of(provider, 2, ORDERS[2], until=3)  # killed here; the checkpoint is of its beginning
    taught = epoch_of(table(tmp_path), 2, ORDERS[2])
    assert taught == pytest.approx({crop: 100.0 + crop for crop in range(ITEMS)}, abs=1e-2)


def test_predictions_that_are_gone_are_named(tmp_path):
    provider = table(tmp_path)
    epoch_of(provider, 0, ORDERS[0])
    (tmp_path / "predictions" / "even.npy").unlink()
    batch = batch_of([0, 1])
    with pytest.raises(DataError, match=r"even\.npy: the predictions of the last epoch"):
        provider(batch, references(batch), Progress(1, EPOCHS))
