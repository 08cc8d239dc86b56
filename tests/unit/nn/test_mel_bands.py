from mss.core.mel import hz_to_mel, mel_to_hz
from mss.nn.mel_bands import mel_bands


def test_bands_are_the_triangles_between_every_second_corner() -> None:
    # corners of 4 bands over 0 .. 16 kHz, equally spaced in mel; bins every 500 Hz
    step = hz_to_mel(16000) / 5
    corners = [mel_to_hz(index * step) for index in range(6)]
    inside = [
        [k for k in range(33) if low < 500 * k < high]
        for low, high in zip(corners, corners[2:], strict=False)
    ]
    inside[0].insert(0, 0)
    inside[-1].append(32)
    assert [list(range(*band)) for band in mel_bands(32000, 64, 4)] == inside


def test_bands_of_the_published_models() -> None:
    widths = [stop - start for start, stop in mel_bands(44100, 2048, 60)]
    assert sum(widths) == 1979
    assert widths[:4] == [7, 6, 6, 6]
    assert widths[-3:] == [113, 122, 130]


def test_bands_cover_every_bin_and_at_most_twice() -> None:
    cover = [0] * 1025
    for start, stop in mel_bands(44100, 2048, 60):
        for index in range(start, stop):
            cover[index] += 1
    assert set(cover) == {1, 2}


def test_a_band_without_a_bin_is_empty() -> None:
    bands = mel_bands(44100, 256, 60)
    assert (0, 0) in bands
    assert bands[0][0] == 0
    assert bands[-1][1] == 129
