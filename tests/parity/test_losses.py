"""Losses against the packages that are named after them.

Both import torchaudio for what is not used here; a stub stands in for it.
"""

from collections.abc import Iterator

import pytest
import torch
from torchaudio_stub import torchaudio_stub

from mss.core import registry
from mss.core.types import Estimate, Target

pytestmark = pytest.mark.parity

SOURCES = ("drums", "bass", "vocals")


@pytest.fixture(name="torchaudio_stub")
def fixture_torchaudio_stub() -> Iterator[None]:
    """See torchaudio_stub."""
    with torchaudio_stub():
        yield


def example() -> tuple[Estimate, Target]:
    """Estimate and target [4, 3, 2, 3000] and a mixture; one source is silent in one item."""
    generator = torch.Generator().manual_seed(0)
    references = 0.1 * torch.randn(4, 3, 2, 3000, generator=generator)
    references[2, 1] = 0
    wave = 0.7 * references + 0.03 * torch.randn(references.shape, generator=generator)
    return Estimate(wave.requires_grad_()), Target(references, torch.ones(4, 3), references.sum(1))


@pytest.mark.usefixtures("torchaudio_stub")
@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_l1_snr(eps: float) -> None:
    from torch_l1_snr import L1SNRLoss

    estimate, target = example()
    loss = registry.build("loss", {"name": "l1_snr", "eps": eps}, SOURCES)
    total = loss(estimate, target).total
    # the package takes everything behind the batch axis as one signal
    expected = L1SNRLoss("l1_snr", eps=eps)(
        estimate.wave.flatten(0, 1), target.sources.flatten(0, 1)
    )
    torch.testing.assert_close(total, expected)
    (ours,) = torch.autograd.grad(total, estimate.wave)
    (theirs,) = torch.autograd.grad(expected, estimate.wave)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("torchaudio_stub")
def test_log_wmse() -> None:
    from torch_log_wmse import LogWMSELoss

    estimate, target = example()
    total = registry.build("loss", {"name": "log_wmse"}, SOURCES)(estimate, target).total
    stems_last = (x.transpose(1, 2) for x in (estimate.wave, target.sources))
    expected = LogWMSELoss(sample_rate=44100)(target.mix, *stems_last)
    torch.testing.assert_close(total, expected)
    (ours,) = torch.autograd.grad(total, estimate.wave)
    (theirs,) = torch.autograd.grad(expected, estimate.wave)
    torch.testing.assert_close(ours, theirs)
