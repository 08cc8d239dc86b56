"""The mel scale, and its filters against the area and the corners that define them."""

import pytest
import torch

from mss.core.mel import hz_to_mel, mel_corners, mel_filters, mel_to_hz


@pytest.mark.parametrize(("hz", "mel"), [(0, 0), (200, 3), (1000, 15), (6400, 42)])
def test_slaneys_scale(hz: float, mel: float) -> None:
    assert hz_to_mel(hz) == pytest.approx(mel)
    assert mel_to_hz(mel) == pytest.approx(hz)


def test_corners_are_equally_spaced_in_mel() -> None:
    corners = mel_corners(12800, 6)  # 6400 Hz are 42 mels
    assert [hz_to_mel(hz) for hz in corners] == pytest.approx([0, 6, 12, 18, 24, 30, 36, 42])


def test_filters_are_triangles_of_unit_area() -> None:
    samplerate, n_fft, count = 16000, 4096, 10
    filters = mel_filters(samplerate, n_fft, count)
    assert filters.shape == (count, n_fft // 2 + 1)
    assert filters.dtype == torch.float32
    # an integral over the frequencies; the corners lie between bins
    assert (filters.sum(dim=1) * samplerate / n_fft).tolist() == pytest.approx(
        [1] * count, abs=1e-2
    )
    corners = mel_corners(samplerate, count)
    hz = torch.arange(n_fft // 2 + 1) * samplerate / n_fft
    for row, (low, peak, high) in zip(
        filters, zip(corners, corners[1:], corners[2:], strict=False), strict=False
    ):
        assert ((row > 0) == ((hz > low) & (hz < high))).all()
        assert hz[row.argmax()].item() == pytest.approx(peak, abs=samplerate / n_fft)
        assert row.max().item() == pytest.approx(2 / (high - low), rel=1e-2)


def test_a_filter_too_narrow_for_a_bin_is_zero() -> None:
    filters = mel_filters(96000, 1024, 128)
    assert (filters.sum(dim=1) == 0).any()
    assert not (mel_filters(44100, 1024, 128).sum(dim=1) == 0).any()
