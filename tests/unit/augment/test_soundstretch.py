"""Pitch and tempo of an item's stems: what is drawn, what is read, what comes out."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from stretch_signals import RATE, bursts, cents, frequency_of, onsets_of, sine
from torch import Tensor

from mss.augment.loader import make_loader_augment
from mss.augment.soundstretch import PitchTempo, SoundStretch
from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.rng import numpy_generator
from mss.core.types import AudioSpec
from mss.data.folder import FolderDataset
from mss.data.loader import make_loader
from mss.data.segments import SegmentDataset
from mss.data.tracks import TrackSet

STEMS = ("drums", "bass", "other", "vocals")


def make(backend: str, samplerate: int = RATE, **keys: Any) -> SoundStretch:
    config = registry.make_config(SoundStretch.Config, keys | {"backend": backend}, "test")
    return SoundStretch(config, AudioSpec(STEMS, samplerate))


class Drawn(SoundStretch):
    """Does what it is told."""

    told: PitchTempo

    def draw(self, generator: np.random.Generator) -> PitchTempo:
        return self.told


def told(backend: str, semitones: int, tempo: float, **keys: Any) -> Drawn:
    config = registry.make_config(
        SoundStretch.Config, {"proba": 1, "backend": backend} | keys, "test"
    )
    augment = Drawn(config, AudioSpec(STEMS))
    augment.told = PitchTempo(semitones, tempo)
    return augment


class Recorded:
    """A stretcher that keeps what it is asked for, and gives what is as long as it should be."""

    name, version = "recorded", "1"

    def __init__(self) -> None:
        self.calls: list[tuple[int, float, float, bool]] = []

    def __call__(
        self, audio: Tensor, samplerate: int, semitones: float, tempo: float, speech: bool
    ) -> Tensor:
        self.calls.append((audio.shape[-1], semitones, tempo, speech))
        return audio.new_zeros(len(audio), round(audio.shape[-1] / (1 + tempo / 100)))


def recorded(**keys: Any) -> tuple[SoundStretch, Recorded]:
    augment, stretcher = make("python-stretch", samplerate=8000, **keys), Recorded()
    augment.stretcher = stretcher  # type: ignore[assignment]
    return augment, stretcher


def test_it_reads_what_the_fastest_tempo_needs_and_the_context() -> None:
    for tempo, needed in ((12, 112), (20, 120), (0, 100), (12.5, 113)):  # 112.5, rounded up
        augment = make("python-stretch", samplerate=8000, max_tempo=tempo)
        assert augment.input_frames(100) == needed + 2 * 800  # 0.1 s on both sides


@pytest.mark.parametrize("semitones", [-2, 0, 2])
@pytest.mark.parametrize("tempo", [-12.0, -0.4, 0.0, 3.3, 12.0])
def test_the_length_is_exact_whatever_is_drawn(backend: str, semitones: int, tempo: float) -> None:
    augment = told(backend, semitones, tempo)
    for frames in (1, 12345):
        stems = torch.randn(2, 2, augment.input_frames(frames))
        changed = augment(stems, STEMS[:2], frames, np.random.default_rng(0))
        assert changed.shape == (2, 2, frames)


@pytest.mark.parametrize("channels", [1, 2])
def test_an_item_that_is_left_alone_is_cut_behind_the_context(channels: int) -> None:
    augment = make("python-stretch", proba=0.2)
    stems = torch.randn(4, channels, augment.input_frames(1000))
    seen = 0
    for index in range(20):
        out = augment(stems, STEMS, 1000, numpy_generator(index))
        seen += torch.equal(out, stems[..., 4410:5410])
    assert 10 <= seen < 20


@pytest.mark.parametrize(("semitones", "tempo"), [(2, 12.0), (-1, -7.7), (1, 0.5), (-2, 12.0)])
def test_pitch_and_tempo_from_the_first_sample_to_the_last(
    backend: str, semitones: int, tempo: float
) -> None:
    """A sine in one stem, hits in the other: five cents, half a percent, hundredths of a second."""
    augment, seconds = told(backend, semitones, tempo), 4.0
    frames = round(seconds * RATE)
    length = augment.input_frames(frames) / RATE
    times = np.arange(0.25, length - 0.2, 0.31)
    signals = [sine(440.0, length), bursts(times, length)]
    stems = torch.from_numpy(np.stack(signals))[:, None].float()
    tone, hits = (
        out[0].double().numpy()
        for out in augment(stems, ("bass", "drums"), frames, np.random.default_rng(0))
    )
    assert abs(cents(frequency_of(tone), 440 * 2 ** (semitones / 12))) < 5
    rate = 1 + tempo / 100
    expected = (times - 0.1) / rate  # 0.1 s is the context
    expected = expected[expected < seconds - 0.1]
    found = onsets_of(hits, expected)
    slope, offset = np.polyfit(expected, found, 1)
    assert len(expected) >= 10
    assert slope == pytest.approx(1, abs=0.005)
    assert abs(offset) < 0.012
    assert np.abs(found - expected).max() < 0.025


@pytest.mark.parametrize(("semitones", "tempo"), [(2, 12.0), (-2, -12.0)])
def test_the_edges_sound_like_the_middle(backend: str, semitones: int, tempo: float) -> None:
    """What a backend makes of the silence beyond its input lies in the context."""
    augment = told(backend, semitones, tempo)
    frames = RATE
    tone = torch.from_numpy(sine(440.0, augment.input_frames(frames) / RATE)).float()
    (changed,) = augment(tone.expand(1, 1, -1), ("other",), frames, np.random.default_rng(0))
    expected = 440 * 2 ** (semitones / 12)
    level = 0.5 / np.sqrt(2)
    for part in changed[0].double().numpy().reshape(10, -1)[[0, 5, 9]]:  # 0.1 s
        assert np.sqrt((part**2).mean()) == pytest.approx(level, rel=0.15)
        assert abs(cents(frequency_of(part), expected)) < 30  # of 44 periods


def test_the_draws_are_those_of_demucs() -> None:
    """Whole semitones, each as likely; a normal tempo, limited."""
    augment = make("python-stretch", max_pitch=2, max_tempo=12, tempo_std=5)
    generator = np.random.default_rng(0)
    draws = [augment.draw(generator) for _ in range(20000)]
    counts = np.bincount([draw.semitones + 2 for draw in draws])
    assert len(counts) == 5
    assert np.abs(counts - 4000).max() < 250  # four standard deviations
    tempo = np.array([draw.tempo for draw in draws])
    assert np.abs(tempo).max() == 12
    # P(|N(0, 1)| > 12 / 5) = 0.0164; P(|N(0, 1)| < 1) = 0.6827
    assert (np.abs(tempo) == 12).mean() == pytest.approx(0.0164, abs=0.004)
    assert (np.abs(tempo) < 5).mean() == pytest.approx(0.6827, abs=0.015)
    assert abs(tempo.mean()) < 0.15


def test_an_item_in_five_is_changed() -> None:
    augment, stretcher = recorded(proba=0.2)
    stems = torch.ones(4, 2, augment.input_frames(10))
    for index in range(1000):
        augment(stems, STEMS, 10, numpy_generator("proba", index))
    assert len(stretcher.calls) / 4 == pytest.approx(200, abs=50)


def test_stems_of_an_item_change_alike_or_each_by_itself() -> None:
    for same, count in ((True, 1), (False, 4)):
        augment, stretcher = recorded(proba=1, same=same)
        augment(torch.ones(4, 2, augment.input_frames(10)), STEMS, 10, np.random.default_rng(0))
        assert len({call[1:3] for call in stretcher.calls}) == count


def test_only_voices_are_stretched_as_speech() -> None:
    augment, stretcher = recorded(proba=1, vocals=["vocals", "choir"])
    names = ("choir", "drums", "other", "vocals")
    augment(torch.ones(4, 2, augment.input_frames(10)), names, 10, np.random.default_rng(0))
    assert [call[3] for call in stretcher.calls] == [True, False, False, True]


def test_a_slow_tempo_sends_no_more_than_it_needs() -> None:
    """The cost is that of what is heard: for a slower tempo less than what is read."""
    augment, stretcher = recorded(proba=1, max_tempo=50)
    for tempo, needed in ((-20.0, 800), (0.0, 1000), (20.0, 1200), (50.0, 1500)):
        augment.draw = lambda _, tempo=tempo: PitchTempo(1, tempo)  # type: ignore[method-assign]
        augment(torch.ones(1, 2, augment.input_frames(1000)), ("a",), 1000, np.random.default_rng())
        assert stretcher.calls[-1][0] == needed + 1600


def test_what_is_drawn_next_does_not_depend_on_whether_it_acted() -> None:
    stems = torch.ones(4, 2, make("python-stretch").input_frames(10))
    following = set()
    for proba in (1e-9, 1):
        augment, _ = recorded(proba=proba)
        generator = np.random.default_rng(0)
        augment(stems[..., : augment.input_frames(10)], STEMS, 10, generator)
        following.add(generator.random())
    assert len(following) == 1


def test_the_choice_is_told_once_at_the_start(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        augment = make(backend, proba=1)
        stems = torch.randn(1, 1, augment.input_frames(10))
        augment(stems, ("drums",), 10, np.random.default_rng(0))
    (message,) = caplog.messages
    assert message.startswith(f"augment.loader.soundstretch: {backend} ")
    assert augment.backend == backend


def test_more_than_two_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment\.loader\.soundstretch: .* 6 channels; set"):
        make_loader_augment({"soundstretch": {}}, AudioSpec(STEMS, channels=6))


# -- in the loader of a training ----------------------------------------------------------------


@pytest.fixture
def tracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackSet:
    """Two songs of noise, at 8 kHz; one is shorter than a segment."""
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for name, frames in (("train/a", 16000), ("train/b", 3000), ("valid/c", 100)):
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True)
        for stem in STEMS:
            samples = generator.integers(-3000, 3000, (frames, 2)).astype(np.int16)
            soundfile.write(folder / f"{stem}.wav", samples, 8000, subtype="PCM_16")
    config = registry.make_config(
        FolderDataset.Config, {"root": str(tmp_path / "set"), "samplerate": 8000}, "dset"
    )
    return FolderDataset(config).split("train")


def test_workers_change_nothing(tracks: TrackSet, backend: str) -> None:
    chain = make_loader_augment(
        {"soundstretch": {"proba": 0.5, "backend": backend}}, AudioSpec(STEMS, 8000)
    )
    assert chain is not None
    dataset = SegmentDataset(tracks, 4000, 8, 3, loader_augment=chain.for_segments(4000))
    alone, workers = (
        [batch.stems for batch in make_loader(dataset, 2, epoch=1, num_workers=count)]
        for count in (0, 2)
    )
    assert all(torch.equal(one, other) for one, other in zip(alone, workers, strict=True))
    assert alone[0].shape == (2, 4, 2, 4000)
    plain = make_loader_augment(
        {"soundstretch": {"proba": 1e-9, "backend": backend}}, AudioSpec(STEMS, 8000)
    )
    assert plain is not None
    unchanged = SegmentDataset(tracks, 4000, 8, 3, loader_augment=plain.for_segments(4000))
    same = [
        torch.equal(item, unchanged[(1, 2 * step + place)].stems)
        for step, batch in enumerate(alone)
        for place, item in enumerate(batch)
    ]
    assert 0 < sum(same) < 8  # of both kinds
