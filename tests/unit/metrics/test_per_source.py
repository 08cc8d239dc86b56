"""What all metrics of one source at a time have in common, and where they differ."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mss.compose import compose_config
from mss.core.errors import ConfigError
from mss.metrics.base import Metric, make_metrics
from mss.metrics.per_source import each_source

NAMES = ("mrstft", "l1_freq", "aura_stft", "aura_mrstft", "bleed_full", "bleed_full_mr", "l1_snr")
MakeSong = Callable[..., Tensor]


def metric_of(name: str) -> Metric:
    return make_metrics({name: None})[0]


def worse(reference: Tensor, share: float) -> Tensor:
    """Add noise at `share` of the reference's rms."""
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(9))
    return reference + share * reference.std() * noise


@pytest.mark.parametrize("name", NAMES)
def test_more_noise_scores_worse_and_none_is_the_best(name: str, make_song: MakeSong) -> None:
    metric, reference = metric_of(name), make_song(sources=1)
    rows = [metric.score(reference, worse(reference, s), 44100) for s in (0, 0.01, 0.1, 1)]
    for measure in metric.measures:
        scores = torch.cat([row[measure.name] for row in rows])
        assert scores.dtype == torch.float64
        if measure.name.startswith("fullness"):
            # noise removes little: see test_bleed for what does
            assert scores[0] == 100
            continue
        towards_worse = scores.diff() if not measure.higher_is_better else -scores.diff()
        assert (towards_worse > 0).all(), (measure.name, scores)
        if measure.unit == "points":
            assert scores[0] == (100 if measure.higher_is_better else 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_source_is_scored_for_itself(name: str, make_song: MakeSong) -> None:
    metric, reference = metric_of(name), make_song(sources=3)
    estimate = worse(reference, 0.1)
    together = metric.score(reference, estimate, 44100)
    for index in range(3):
        alone = metric.score(reference[index, None], estimate[index, None], 44100)
        for key, values in together.items():
            assert values.shape == (3,)
            torch.testing.assert_close(values[index], alone[key][0])


@pytest.mark.parametrize("name", NAMES)
def test_silence(name: str, make_song: MakeSong) -> None:
    metric, reference = metric_of(name), make_song(sources=2)
    estimate = worse(reference, 0.1)
    reference[1] = 0
    for key, scores in metric.score(reference, estimate, 44100).items():
        assert not scores[0].isnan()
        assert scores[1].isnan() == (key != "l1_freq")
    # a silent estimate is a very bad one, which has a score (silence is bleedless, though)
    for key, scores in metric.score(reference[:1], torch.zeros(1, 2, 12000), 44100).items():
        noisy = metric.score(reference[:1], worse(reference[:1], 0.01), 44100)[key]
        better = metric.measures[0].higher_is_better
        assert scores.isfinite().all()
        if key.startswith("bleedless"):
            assert scores[0] == 100
        else:
            assert (scores[0] < noisy[0]) if better else (scores[0] > noisy[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "length"), [(1, 12000), (1, 1), (2, 700), (6, 5000)])
def test_any_shape_has_a_score(name: str, channels: int, length: int) -> None:
    reference = torch.rand(1, channels, length, generator=torch.Generator().manual_seed(0))
    for values in metric_of(name).score(reference, 0.5 * reference, 44100).values():
        assert values.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_channel_twice_scores_as_once(name: str, make_song: MakeSong) -> None:
    metric, mono = metric_of(name), make_song(channels=1)
    estimate = worse(mono, 0.1)
    stereo = metric.score(mono.expand(-1, 2, -1), estimate.expand(-1, 2, -1), 44100)
    for key, expected in metric.score(mono, estimate, 44100).items():
        torch.testing.assert_close(stereo[key], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_level_of_the_recording(name: str, make_song: MakeSong) -> None:
    """Whether it matters is part of the definition: 40 dB less, of reference and estimate."""
    metric, reference = metric_of(name), make_song(sources=1)
    estimate = worse(reference, 0.1)
    loud = metric.score(reference, estimate, 44100)
    quiet = metric.score(reference / 100, estimate / 100, 44100)
    for key in loud:
        difference = (quiet[key] - loud[key]).item()
        if key.startswith(("bleedless", "fullness")):
            assert abs(difference) < 1e-3
        elif key == "l1_freq":
            assert difference > 10
        elif key == "l1_snr":
            assert difference < -1
        else:  # through the floor of the magnitudes, in the pauses
            assert abs(difference) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_size_of_the_blocks_changes_nothing(
    name: str, make_song: MakeSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = make_song(sources=1)
    estimate = worse(reference, 0.1)
    expected = metric_of(name).score(reference, estimate, 44100)
    monkeypatch.setattr("mss.metrics.song_stft._BLOCK", 20000)
    for module, block in {"aura": 997, "bleed": 7, "l1_snr": 997}.items():
        monkeypatch.setattr(f"mss.metrics.{module}._BLOCK", block)
    for key, values in metric_of(name).score(reference, estimate, 44100).items():
        torch.testing.assert_close(values, expected[key], rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_definitions_are_fixed(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"test\.metrics\.{name}\.n_fft: there is no such key"):
        make_metrics({name: {"n_fft": 512}})


@pytest.mark.parametrize("name", ["aura_mrstft", "bleed_full", "bleed_full_mr"])
def test_other_samplerates(name: str, make_song: MakeSong) -> None:
    metric, reference = metric_of(name), make_song(sources=1)
    estimate = worse(reference, 0.1)
    at_44100 = metric.score(reference, estimate, 44100)
    for samplerate in (16000, 22050, 32000, 48000):
        for key, values in metric.score(reference, estimate, samplerate).items():
            assert values.isfinite().all()
            assert values != at_44100[key]
    with pytest.raises(ConfigError, match=rf"test\.metrics\.{name}: at 192000 Hz"):
        metric.score(reference, estimate, 192000)


def test_test_full_has_them_all() -> None:
    metrics = compose_config(["test=full"]).test.metrics
    assert set(NAMES) < set(metrics)
    make_metrics(metrics)


def test_silent_references_are_told_from_quiet_ones() -> None:
    reference = torch.zeros(3, 1, 10)
    reference[1, 0, 7] = 1e-30

    def constant(expected: Tensor, ours: Tensor) -> Tensor:
        return torch.tensor([1.0, 2.0])

    scores = each_source(reference, reference, constant)
    assert scores[1].tolist() == [1, 2]
    assert all(math.isnan(value) for value in scores[[0, 2]].flatten())
    assert not each_source(reference, reference, constant, defined_in_silence=True).isnan().any()
    with pytest.raises(AssertionError, match="reference"):
        each_source(reference, reference[:1], constant)
