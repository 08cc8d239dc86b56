import warnings

import numpy as np
import pytest
import torch

from mss.core.stft import Stft, Window


def wave(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("kind", ["hann", "none"])
def test_frames_are_windowed_transforms(kind: Window, normalized: bool) -> None:
    stft = Stft(64, 16, normalized=normalized, window=kind)
    x = wave(2, 200)
    spec = stft(x)
    assert spec.shape == (2, stft.bins, stft.frames(200)) == (2, 33, 13)

    padded = np.pad(x.numpy(), ((0, 0), (32, 32)), mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64) if kind == "hann" else np.ones(64)
    for n in range(13):
        expected = np.fft.rfft(padded[:, n * 16 : n * 16 + 64] * window)
        expected /= 8 if normalized else 1
        np.testing.assert_allclose(spec[..., n].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 1000])
@pytest.mark.parametrize(("kind", "hop"), [("hann", 16), ("none", 16), ("none", 24), ("none", 32)])
def test_inverse_restores_any_length(kind: Window, hop: int, length: int) -> None:
    stft = Stft(64, hop, window=kind)
    x = wave(2, 3, length)
    torch.testing.assert_close(stft.inverse(stft(x), length), x, atol=1e-6, rtol=0)


def test_without_centre_frames_start_at_the_first_sample() -> None:
    stft = Stft(64, 16, center=False)
    x = wave(128)
    spec = stft(x)
    assert spec.shape[-1] == stft.frames(128) == 5
    centred = Stft(64, 16)(x)
    torch.testing.assert_close(spec, centred[..., 2:7])


def test_half_precision_is_cast_up_and_autocast_is_left() -> None:
    stft = Stft(64, 16)
    x = wave(2, 200)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spec = stft(x.bfloat16())
        back = stft.inverse(spec, 200)
    assert spec.dtype == torch.complex64
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, x.bfloat16().float(), atol=1e-6, rtol=0)


def test_double_stays_double() -> None:
    stft = Stft(64, 16)
    x = wave(2, 200).double()
    assert stft(x).dtype == torch.complex128
    torch.testing.assert_close(stft.inverse(stft(x), 200), x, atol=1e-14, rtol=0)


def test_without_a_window_overlapping_frames_are_averaged() -> None:
    # an inconsistent spectrum: frames 0 and 1 say 1, the others nothing; 4 frames cover a sample
    stft = Stft(64, 16, window="none")
    spec = torch.zeros(33, 9, dtype=torch.complex64)
    spec[0, :2] = 64.0
    wave = stft.inverse(spec, 128)
    expected = [2 / 3, 2 / 4, 1 / 4, 0]  # the first hop is seen by frames 0, 1 and 2 alone
    torch.testing.assert_close(wave[:64].view(4, 16), torch.tensor(expected)[:, None].expand(4, 16))


def test_the_window_is_no_part_of_a_checkpoint() -> None:
    assert not Stft(64, 16).state_dict()


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(
    ("n_fft", "hop", "kind"),
    [
        (64, 16, "hann"),
        (64, 32, "hann"),
        (60, 12, "hann"),
        (64, 8, "none"),
        (64, 32, "none"),
        (6, 3, "none"),
    ],
)
@pytest.mark.parametrize("length", [1, 5, 32, 64, 65, 1000, 1001])
def test_the_inverse_of_any_spectrum_is_torchs(
    n_fft: int, hop: int, kind: Window, normalized: bool, length: int
) -> None:
    """Without gradients a CPU computes it otherwise; also for what no signal transforms to."""
    stft = Stft(n_fft, hop, normalized=normalized, window=kind)
    for dtype, tolerance in ((torch.complex64, 1e-6), (torch.complex128, 1e-12)):
        spec = torch.randn(
            2,
            3,
            stft.bins,
            stft.frames(length),
            dtype=dtype,
            generator=torch.Generator().manual_seed(length),
        )
        spec = spec / (1 if normalized else n_fft**0.5)  # samples of about 1
        before = spec.clone()
        expected = torch.istft(
            spec.flatten(0, 1),
            n_fft,
            hop,
            window=stft.window.to(spec.real.dtype),
            normalized=normalized,
            length=length,
        ).reshape(2, 3, length)
        with torch.no_grad():
            found = stft.inverse(spec, length)
            alone = stft.inverse(spec[1, 2], length)
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=10 * tolerance)
        torch.testing.assert_close(alone, found[1, 2], atol=0, rtol=0)
        # with gradients it is torch's own
        assert torch.equal(stft.inverse(spec, length), expected)
        assert torch.equal(spec, before)


@pytest.mark.parametrize("length", [64, 65, 100, 128, 130])
def test_without_centre_the_inverse_is_torchs(length: int) -> None:
    """What lies beyond the last frame is silent."""
    stft = Stft(64, 16, center=False, window="none")
    spec = stft(wave(2, length))
    with torch.no_grad():
        found = stft.inverse(spec, length)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is filled with zeros
        expected = torch.istft(
            spec, 64, 16, window=stft.window, center=False, length=length, normalized=False
        )
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    covered = (length - 64) // 16 * 16 + 64
    assert not found[:, covered:].any()


def test_gradients_go_through_the_inverse() -> None:
    stft = Stft(64, 16)
    spec = stft(wave(200)).requires_grad_()
    stft.inverse(spec, 200).square().sum().backward()
    assert spec.grad is not None
    assert spec.grad.abs().max() > 0
