"""Windows of recordings, segments, and files that are read forwards."""

import pytest
import torch

from mss.distill.quality.recording import ForwardReader, Recording, cut

AUDIO = torch.arange(1, 101.0)[None].repeat(2, 1)


def test_windows_reach_beyond_the_ends():
    recording = Recording.of(AUDIO)
    assert torch.equal(recording.window(20, 30), AUDIO[:, 20:50])
    window = recording.window(-5, 110)
    assert window.shape == (2, 110)
    assert torch.equal(window[:, 5:105], AUDIO)
    assert not window[:, :5].any() and not window[:, 105:].any()


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (100, [(0, 100)]),
        (149, [(0, 149)]),  # a rest below a half belongs to the segment before
        (150, [(0, 100), (100, 50)]),
        (300, [(0, 100), (100, 100), (200, 100)]),
        (340, [(0, 100), (100, 100), (200, 140)]),
        (10, [(0, 10)]),
        (0, []),
    ],
)
def test_segments_cover_a_recording(length, expected):
    assert list(cut(length, 100)) == expected


def test_a_recording_may_be_one_segment():
    assert cut(1234, None) == ((0, 1234),)


@pytest.mark.parametrize("block", [1, 7, 33, 100, 1000])
def test_a_file_is_read_forwards_in_overlapping_windows(block):
    taken = []

    def blocks():
        for part in AUDIO.split(block, dim=-1):
            taken.append(part)
            yield part

    read = ForwardReader(blocks())
    for start, frames in [(0, 30), (0, 40), (25, 40), (60, 5), (90, 10)]:
        assert torch.equal(read(start, frames), AUDIO[:, start : start + frames])
    assert sum(part.shape[-1] for part in taken) == 100  # once


def test_what_was_passed_is_forgotten():
    read = ForwardReader(iter(AUDIO.split(10, dim=-1)))
    read(50, 10)
    with pytest.raises(AssertionError):
        read(40, 10)
