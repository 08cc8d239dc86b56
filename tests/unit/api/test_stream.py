"""The session of a stream checks what it is fed, and knows when it has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mss.api.separator import SongSeparator
from mss.core.errors import ConfigError, DataError, StemgridError

RATE = 8000


@pytest.fixture(scope="module")
def separator(released: Path) -> SongSeparator:
    return SongSeparator(repo=released, device="cpu")


@pytest.fixture(scope="module")
def plain(released: Path) -> SongSeparator:
    """A model that does not normalise."""
    return SongSeparator("openunmix", released, "cpu")


def noise(channels: int = 2, frames: int = 3001) -> torch.Tensor:
    return 0.1 * torch.randn(channels, frames, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_blocks_of_any_floats_give_float32(separator: SongSeparator, channels: int) -> None:
    mix = noise(channels)
    outputs = []
    for dtype in (torch.float32, torch.float64):
        session = separator.stream(RATE, channels, like=mix)
        assert session.channels == channels
        parts = [session.feed(block.to(dtype)) for block in mix.split(1000, dim=-1)]
        outputs.append(torch.cat([*parts, session.flush()], dim=-1))
    assert outputs[0].shape == (2, channels, 3001)
    assert outputs[0].dtype == torch.float32
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        (noise(1), r"block: is of 1 channels, the session of 2; give \[2, samples\]"),
        (noise(6), "block: is of 6 channels, the session of 2"),
        (noise().T, r"block: is \[3001, 2\], so of 3001 channels"),
        (noise()[0], r"block: is \[3001\]"),
        (noise().int(), "block: .* of torch.int32"),
        (noise() / 0, "block: holds a NaN or an infinity"),
        ([[0.0]], "block: is a list"),
    ],
)
def test_other_blocks_are_refused_and_do_no_harm(
    plain: SongSeparator, block: Any, fault: str
) -> None:
    session = plain.stream(RATE, 2)
    with pytest.raises(DataError, match=fault):
        session.feed(block)
    first = session.feed(noise())
    assert first.shape[-1] + session.flush().shape[-1] == 3001


def test_after_flush_a_session_has_ended(plain: SongSeparator) -> None:
    session = plain.stream(RATE, 2)
    latency = session.latency
    session.feed(noise())
    session.flush()
    for more in (session.flush, lambda: session.feed(noise())):
        with pytest.raises(StemgridError, match=r"has ended .*make a new session"):
            more()
    assert (session.latency, session.channels) == (latency, 2)


@pytest.mark.parametrize(("channels", "like"), [(6, 2), (2, 6), (1, 2), (2, 1)])
def test_like_has_the_channels_of_the_recording(
    separator: SongSeparator, plain: SongSeparator, channels: int, like: int
) -> None:
    for each in (separator, plain):
        with pytest.raises(
            ConfigError, match=f"like: is of {like} channels, but channels={channels}"
        ):
            each.stream(RATE, channels, like=noise(like))


@pytest.mark.parametrize(
    ("rate", "channels", "fault"),
    [
        (44100.5, 2, "samplerate: 44100.5 is not a whole number, at least 1"),
        (0, 2, "samplerate: 0 is not at least 1"),
        ("44100", 2, "samplerate: '44100' is not"),
        (RATE, 0, "channels: 0 is not at least 1"),
        (RATE, 1.5, "channels: 1.5 is not a whole number"),
    ],
)
def test_rates_and_channels_that_are_none(
    plain: SongSeparator, rate: Any, channels: Any, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        plain.stream(rate, channels)


def test_a_model_that_normalises_needs_like(separator: SongSeparator) -> None:
    with pytest.raises(ConfigError, match=r"like: .* normalises by the whole recording"):
        separator.stream(RATE, 2)
