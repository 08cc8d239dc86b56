"""Channel and sample-rate conversion."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from julius.resample import resample_frac

from mss.core import audio
from mss.core.audio import StreamResampler, convert_channels, resample, resampled_length
from mss.core.errors import DataError

RATIOS = [
    (44100, 48000),
    (48000, 44100),
    (22050, 44100),
    (44100, 22050),
    (8000, 44100),
    (96000, 44100),
    (11025, 48000),
]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sine(hertz: float, samplerate: int, length: int) -> torch.Tensor:
    time = torch.arange(length, dtype=torch.float64) / samplerate
    return torch.sin(2 * math.pi * hertz * time).float()


def test_mono_is_repeated_and_mean_goes_to_mono() -> None:
    mono = noise(3, 1, 10)
    assert torch.equal(convert_channels(mono, 2), torch.cat([mono, mono], dim=1))
    stereo = noise(3, 2, 10)
    assert torch.allclose(
        convert_channels(stereo, 1), (stereo[:, :1] + stereo[:, 1:]) / 2, atol=1e-7
    )
    assert convert_channels(stereo, 2) is stereo


def test_surround_to_stereo_keeps_centre_and_drops_low_frequency_channel() -> None:
    surround = torch.eye(6)  # [C, T]: at time t only channel t sounds
    left, right = convert_channels(surround, 2)
    unit = 1 / (1 + 2 * math.sqrt(0.5))
    expected_left = torch.tensor([1, 0, math.sqrt(0.5), 0, math.sqrt(0.5), 0]) * unit
    assert torch.allclose(left, expected_left, atol=1e-6)
    assert torch.allclose(right, expected_left[[1, 0, 2, 3, 5, 4]], atol=1e-6)


@pytest.mark.parametrize("channels", range(3, 9))
def test_no_downmix_passes_full_scale(channels: int) -> None:
    assert convert_channels(torch.ones(channels, 4), 2).max() <= 1 + 1e-6


def test_impossible_channels_are_named() -> None:
    with pytest.raises(DataError, match="2 channels into 6"):
        convert_channels(noise(2, 4), 6)


@pytest.mark.parametrize(("old", "new"), RATIOS)
def test_resample_equals_julius(old: int, new: int) -> None:
    signal = noise(2, 3, 5001)
    expected = resample_frac(signal, old, new, full=True)
    result = resample(signal, old, new)
    assert result.shape[-1] == math.ceil(5001 * new / old)
    assert torch.allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), RATIOS)
def test_sparse_filters_equal_the_table(
    old: int, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = noise(2, 4001)
    table = resample(signal, old, new)
    monkeypatch.setattr(audio, "MAX_TABLE_BYTES", 0)
    audio._filter.cache_clear()
    try:
        # julius computes its phases in float32, which is off by up to 4e-5 at white noise of rms 1.
        assert torch.allclose(resample(signal, old, new), table, atol=1e-4)
    finally:
        audio._filter.cache_clear()


@pytest.mark.parametrize(("old", "new"), [*RATIOS, (44099, 44100), (44100, 44099)])
def test_resampled_sine_is_the_sine_at_the_new_rate(old: int, new: int) -> None:
    length = old // 4
    result = resample(sine(997, old, length), old, new)
    expected = sine(997, new, resampled_length(length, old, new))
    edge = new // 50  # the repeated edge samples are not a sine
    assert torch.allclose(result[edge:-edge], expected[edge:-edge], atol=1e-3)


def test_downsampling_removes_what_would_alias() -> None:
    result = resample(sine(9000, 44100, 20000), 44100, 16000)
    assert result[500:-500].abs().max() < 1e-3


def test_length_of_a_long_signal_is_exact() -> None:
    # julius computes lengths in float32: past 2**24 samples they are off by one or more.
    length = 2**24 + 3
    assert resampled_length(length, 1, 1) == length
    assert resample(torch.zeros(length), 2, 1).shape[-1] == 2**23 + 2


def test_empty_and_tiny_signals() -> None:
    assert resample(torch.zeros(2, 0), 44100, 48000).shape == (2, 0)
    assert resample(torch.ones(2, 1), 44100, 48000).shape == (2, 2)
    assert torch.allclose(resample(torch.ones(2, 1), 44100, 48000), torch.ones(2, 2), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    ratio=st.sampled_from([*RATIOS, (44099, 44100), (44100, 44100), (3, 2)]),
    sizes=st.lists(st.integers(0, 3000), max_size=6),
)
def test_stream_equals_whole_for_any_blocks(ratio: tuple[int, int], sizes: list[int]) -> None:
    signal = noise(2, sum(sizes))
    stream = StreamResampler(*ratio, channels=2)
    parts = [stream.feed(block) for block in torch.split(signal, sizes, dim=-1)] if sizes else []
    joined = torch.cat([*parts, stream.flush()], dim=-1)
    whole = resample(signal, *ratio)
    assert joined.shape == whole.shape
    # White noise of rms 1; only the order of float32 sums differs.
    assert torch.allclose(joined, whole, atol=1e-6)


@pytest.mark.parametrize("ratio", [(44100, 48000), (44099, 44100)])
def test_stream_keeps_bounded_history(ratio: tuple[int, int]) -> None:
    stream = StreamResampler(*ratio, channels=1)
    kept = []
    for size in [1000] * 20 + [100_000, 1]:
        stream.feed(torch.zeros(1, size))
        assert stream._kept is not None
        # A view of a large tensor would keep all of it.
        kept.append(stream._kept.untyped_storage().nbytes() // 4)
    assert max(kept) < 1500
