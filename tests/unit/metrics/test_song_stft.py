"""Blocks of frames are torch's own STFT, whatever the length and the size of the blocks."""

import pytest
import torch

from mss.metrics import song_stft
from mss.metrics.song_stft import SongStft


@pytest.mark.parametrize("length", [33, 64, 95, 96, 1000])
@pytest.mark.parametrize("frames_a_block", [1, 3, 1000])
@pytest.mark.parametrize(("window", "pad_mode"), [("hann", "constant"), ("none", "reflect")])
def test_equals_torch_stft(
    length: int, frames_a_block: int, window: str, pad_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_fft, hop = 64, 16
    monkeypatch.setattr(song_stft, "_BLOCK", frames_a_block * n_fft)
    audio = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    stft = SongStft(n_fft, hop, window=window, pad_mode=pad_mode)  # type: ignore[arg-type]
    blocks = list(stft(audio))
    assert all(block.shape[-1] <= frames_a_block for block in blocks)
    expected = torch.stft(
        audio,
        n_fft,
        hop,
        window=torch.hann_window(n_fft) if window == "hann" else torch.ones(n_fft),
        pad_mode=pad_mode,
        return_complex=True,
    )
    torch.testing.assert_close(torch.cat(blocks, dim=-1), expected)
    assert stft.frames(length) == expected.shape[-1]


@pytest.mark.parametrize("length", [1, 16, 32])
def test_what_is_too_short_to_be_reflected_stands_among_zeros(length: int) -> None:
    audio = torch.ones(1, length)
    got = torch.cat(list(SongStft(64, 16)(audio)), dim=-1)
    torch.testing.assert_close(
        got, torch.cat(list(SongStft(64, 16, pad_mode="constant")(audio)), dim=-1)
    )
    assert got.shape == (1, 33, length // 16 + 1)


def test_pairs_are_of_the_same_frames() -> None:
    audio = torch.randn(1, 500, generator=torch.Generator().manual_seed(0))
    for ours, theirs in SongStft(64, 16).pairs(audio, 2 * audio):
        torch.testing.assert_close(2 * ours, theirs)
