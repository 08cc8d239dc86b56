"""A bank in groups is the whole bank; one with empty filters is refused."""

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.mel import mel_filters
from mss.metrics.mel_bank import MelBank


@pytest.mark.parametrize("count", [20, 128])
def test_groups_add_up_to_the_bank(count: int) -> None:
    magnitudes = torch.rand(2, 513, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        MelBank(44100, 1024, count, "x")(magnitudes), mel_filters(44100, 1024, count) @ magnitudes
    )


def test_a_band_without_a_bin() -> None:
    with pytest.raises(ConfigError, match=r"test\.metrics\.x: at 96000 Hz, \d+ of its 128 mel"):
        MelBank(96000, 1024, 128, "test.metrics.x")
