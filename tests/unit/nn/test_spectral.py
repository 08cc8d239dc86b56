import pytest
import torch

from mss.core.stft import Stft
from mss.nn.spectral import AlignedStft, CentredStft


def wave(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def without_nyquist(x: torch.Tensor) -> torch.Tensor:
    """White noise low-passed well below the Nyquist bin, which both transforms drop."""
    spectrum = torch.fft.rfft(x)
    spectrum[..., int(0.6 * spectrum.shape[-1]) :] = 0
    return torch.fft.irfft(spectrum, n=x.shape[-1])


@pytest.mark.parametrize("length", [1, 63, 64, 65, 1000])
def test_aligned_frames_count_hops(length: int) -> None:
    stft = AlignedStft(256)
    spec = stft(wave(2, 3, length))
    assert spec.shape == (2, 3, 128, -(-length // 64))
    assert stft.inverse(spec, length).shape == (2, 3, length)


def test_aligned_frames_lie_over_their_hop() -> None:
    # frame n is the transform of the window centred on the middle of [n, n + 1) * hop
    stft = AlignedStft(256)
    x = wave(1, 1000)
    spec = stft(x)
    window = torch.hann_window(256)
    for n in (2, 5, 10):
        centre = n * 64 + 32
        expected = torch.fft.rfft(x[0, centre - 128 : centre + 128] * window) / 16
        torch.testing.assert_close(spec[0, :, n], expected[:-1], atol=1e-5, rtol=0)


def test_centred_is_the_usual_transform_without_nyquist() -> None:
    x = wave(2, 1000)
    usual = Stft(256, 64, normalized=True)(x)
    torch.testing.assert_close(CentredStft(256)(x), usual[:, :-1])


@pytest.mark.parametrize("kind", [AlignedStft, CentredStft])
def test_inverse_restores_what_has_no_nyquist_energy(kind: type) -> None:
    stft = kind(256)
    x = without_nyquist(wave(2, 4096))
    back = stft.inverse(stft(x), 4096)
    # the ends, whose reflection has energy everywhere, are left out
    torch.testing.assert_close(back[:, 256:-256], x[:, 256:-256], atol=1e-5, rtol=0)


def test_legacy_offset_comes_back_early() -> None:
    stft = AlignedStft(256, legacy_offset=True)
    x = without_nyquist(wave(1, 4096))
    back = stft.inverse(stft(x), 4096)
    # 3/8 of a window late in, on time out
    torch.testing.assert_close(back[:, 512:-512], x[:, 416:-608], atol=1e-5, rtol=0)
