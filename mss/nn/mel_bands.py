"""Overlapping bands that are equally wide on the mel scale."""

from mss.core.mel import mel_corners


def mel_bands(samplerate: int, n_fft: int, count: int) -> list[tuple[int, int]]:
    """Return the bins in which each filter of a triangular mel filterbank is positive.

    With corners m_0 .. m_(count + 1) equally spaced from 0 Hz to half the samplerate, filter b
    rises from m_b to m_(b + 1) and falls to m_(b + 2). The lowest band also takes the bin at 0 Hz
    and the highest the last one, where the triangles are zero, so that together they cover all
    bins; none lies in more than two.

    Args:
        samplerate: Hz.
        n_fft: length of the transform, samples.
        count: bands.

    Returns:
        First bin and the one after the last, of each band; equal where the band is too narrow to
        hold a bin.
    """
    bins = n_fft // 2 + 1
    corners = mel_corners(samplerate, count)
    frequencies = [index * samplerate / n_fft for index in range(bins)]
    bands = []
    for low, high in zip(corners, corners[2:], strict=False):
        inside = [index for index, hz in enumerate(frequencies) if low < hz < high]
        bands.append((inside[0], inside[-1] + 1) if inside else (0, 0))
    first, last = bands[0], bands[-1]
    bands[0] = (0, max(first[1], 1))
    bands[-1] = (bands[-1][0] if last[1] else bins - 1, bins)
    return bands
