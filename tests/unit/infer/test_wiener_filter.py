import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.stft import Stft
from mss.core.wiener import wiener
from mss.infer.wiener_filter import WienerFilter


def noise(seed: int, frames: int = 6000) -> Tensor:
    return torch.randn(1, 2, frames, generator=torch.Generator().manual_seed(seed))


def rough(chunks: Tensor) -> Tensor:
    return torch.stack([0.7 * chunks, 0.2 * chunks.roll(5, -1)], dim=1)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_is_the_filter_of_the_magnitudes(iterations: int, residual: bool) -> None:
    mix = noise(0)
    out = WienerFilter(rough, iterations, residual, n_fft=512, hop=128)(mix.clone())
    stft = Stft(512, 128)
    spec = wiener(stft(rough(mix)).abs(), stft(mix), iterations, residual=residual)
    torch.testing.assert_close(out, stft.inverse(spec[:, :2], 6000))


def test_leakage_between_panned_sources_is_filtered_out() -> None:
    """The channels' covariances tell apart what the magnitudes confuse."""
    first, second = noise(1)[:, :1], noise(2)[:, :1]
    stems = torch.stack(
        [torch.cat([first, 0.1 * first], 1), torch.cat([0.1 * second, second], 1)], dim=1
    )
    mix = stems.sum(dim=1)

    def leaking(chunks: Tensor) -> Tensor:
        return 0.7 * stems + 0.3 * stems.flip(1)

    out = WienerFilter(leaking, iterations=2, n_fft=512, hop=128)(mix)
    before = (leaking(mix) - stems).square().mean()
    assert (out - stems).square().mean() < before / 4
    torch.testing.assert_close(out.sum(1), mix, atol=1e-3, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 255, 257, 1000])
def test_any_length(length: int) -> None:
    out = WienerFilter(rough, n_fft=512, hop=128)(noise(0, length))
    assert out.shape == (1, 2, 2, length)
    assert out.isfinite().all()


def test_silence_stays_silence() -> None:
    assert torch.equal(
        WienerFilter(rough, n_fft=512, hop=128)(torch.zeros(1, 2, 999)), torch.zeros(1, 2, 2, 999)
    )


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="iterations: 0"):
        WienerFilter(rough, iterations=0)
    with pytest.raises(ConfigError, match="hop: 300"):
        WienerFilter(rough, n_fft=512, hop=300)
