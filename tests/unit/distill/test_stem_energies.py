"""What is measured of a stem, against closed forms."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from noisy_songs import RATE, STEMS, band_noise, separate_bands
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.data.folder import FolderDataset
from mss.data.tracks import IndexedTrack
from mss.distill.disguise import PitchTempo
from mss.distill.stem_energies import LIMIT_DB, StemEnergies, StemJudge, measure_stem

AS_IT_IS = PitchTempo(0, 1)
JUDGE = StemJudge("bands", "0", STEMS, separate_bands)


@pytest.fixture
def make_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the function that writes a song and reads it as a data set does."""
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))

    def make(**stems: np.ndarray) -> IndexedTrack:
        folder = tmp_path / "songs" / "train" / "x"
        folder.mkdir(parents=True)
        for stem, wave in stems.items():
            soundfile.write(folder / f"{stem}.wav", wave, RATE, subtype="FLOAT")
        config = FolderDataset.Config(root=str(tmp_path / "songs"), samplerate=RATE, channels=1)
        return FolderDataset(config).every_song().tracks[0]

    return make


def waves(frames: int = 2 * RATE) -> dict[str, np.ndarray]:
    return {stem: band_noise(stem, frames, seed=3) for stem in STEMS}


def measure(track: IndexedTrack, stem: str, judge: StemJudge = JUDGE, **how: Any) -> StemEnergies:
    how = {"disguise": AS_IT_IS, "window": 60.0, "silence_db": -80.0} | how
    return measure_stem(judge, track=track, stem=stem, **how)


@pytest.mark.parametrize("decibels", [-20.0, -6.0, 3.0])
def test_margins_of_a_stem_with_bleed(make_track: Any, decibels: float) -> None:
    """All stems have one RMS, so the bleed's level is the margin."""
    clean = waves()
    gain = 10 ** (decibels / 20)
    clean["bass"] = clean["bass"] + gain * clean["vocals"]
    found = measure(make_track(**clean), "bass")
    assert found.swap_margin("bass") == pytest.approx(-decibels, abs=1e-3)
    assert found.bleed_margin("bass") == pytest.approx(-decibels, abs=1e-3)
    assert found.loudest_other("bass") == "vocals"
    level = 20 * math.log10(0.05) + 10 * math.log10(1 + gain**2)
    assert found.level_db == pytest.approx(level, abs=1e-3)


def test_margins_of_two_bleeds(make_track: Any) -> None:
    """A swap is told by the louder one, bleed by both together."""
    clean = waves()
    clean["bass"] = clean["bass"] + 0.1 * clean["vocals"] + 0.2 * clean["drums"]
    found = measure(make_track(**clean), "bass")
    assert found.swap_margin("bass") == pytest.approx(-20 * math.log10(0.2), abs=1e-3)
    assert found.bleed_margin("bass") == pytest.approx(-10 * math.log10(0.05), abs=1e-3)
    assert found.loudest_other("bass") == "drums"


def test_margins_of_clean_and_of_swapped_stems(make_track: Any) -> None:
    clean = waves()
    track = make_track(drums=clean["drums"], bass=clean["vocals"], vocals=clean["bass"])
    assert measure(track, "drums").swap_margin("drums") > 100
    for stem in ("bass", "vocals"):
        found = measure(track, stem)
        assert found.swap_margin(stem) < -100
        assert found.bleed_margin(stem) < -100


@pytest.mark.parametrize(
    ("own", "other", "margin"),
    [(1.0, 0.0, LIMIT_DB), (0.0, 1.0, -LIMIT_DB), (0.0, 0.0, 0.0), (0.1, 0.01, 10.0)],
)
def test_margins_are_bounded(own: float, other: float, margin: float) -> None:
    found = StemEnergies(-20.0, 1.0, {"bass": own, "drums": other, "vocals": 0.0}, other)
    assert found.swap_margin("bass") == pytest.approx(margin, abs=1e-6)
    assert found.bleed_margin("bass") == pytest.approx(margin, abs=1e-6)


def test_a_silent_stem_is_not_separated(make_track: Any) -> None:
    clean = waves()
    clean["bass"] = np.zeros_like(clean["bass"])
    clean["drums"] = clean["drums"] * 10 ** (-60 / 20)  # at -86 dB

    def refuse(mix: Tensor) -> Tensor:
        raise AssertionError

    track = make_track(**clean)
    for stem, level in (("bass", -LIMIT_DB), ("drums", 20 * math.log10(0.05) - 60)):
        found = measure(track, stem, replace(JUDGE, separate=refuse))
        assert found.level_db == pytest.approx(level, abs=1e-3)
        assert found.disguised == 0
        assert found.swap_margin(stem) == 0
    assert measure(track, "drums", silence_db=-90).swap_margin("drums") > 100


def test_windows_bound_the_memory_and_add_up(make_track: Any) -> None:
    lengths = []

    def scaled(mix: Tensor) -> Tensor:
        lengths.append(mix.shape[-1])
        return torch.stack([0.5 * mix, 0.25 * mix, 0.0 * mix])

    track = make_track(**waves(5 * RATE // 2 + 3))
    whole = measure(track, "bass", replace(JUDGE, separate=scaled))
    assert lengths == [5 * RATE // 2 + 3]
    lengths.clear()
    parts = measure(track, "bass", replace(JUDGE, separate=scaled), window=1.0)
    assert len(lengths) == 3
    assert sum(lengths) == track.length
    assert max(lengths) <= RATE
    for key in ("level_db", "disguised", "residual"):
        assert getattr(parts, key) == pytest.approx(getattr(whole, key), rel=1e-9)
    assert parts.outputs == pytest.approx(whole.outputs, rel=1e-9)
    total = track.read("bass").double().square().sum().item()
    assert whole.outputs["drums"] == pytest.approx(total / 4, rel=1e-6)
    assert whole.residual == pytest.approx(total * 0.75**2, rel=1e-6)


def test_the_separator_gets_the_disguise(make_track: Any) -> None:
    heard = []

    def listen(mix: Tensor) -> Tensor:
        heard.append(mix)
        return separate_bands(mix)

    track = make_track(**waves())
    found = measure(track, "bass", replace(JUDGE, separate=listen), disguise=PitchTempo())
    [mix] = heard
    assert mix.shape[-1] == pytest.approx(track.length / 2, rel=0.01)
    assert found.disguised == pytest.approx(mix.double().square().sum().item())
    assert found.swap_margin("bass") > 20


def test_numbers_that_are_none_name_song_and_stem(make_track: Any) -> None:
    def diverged(mix: Tensor) -> Tensor:
        return separate_bands(mix) * torch.nan

    with pytest.raises(DataError, match="x: bands gave samples of 'bass'"):
        measure(make_track(**waves()), "bass", replace(JUDGE, separate=diverged))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_sample_that_is_no_number_is_not_taken_for_silence(make_track: Any, value: float) -> None:
    broken = waves() | {"mixture": sum(waves().values())}
    broken["bass"][7] = value
    with pytest.raises(DataError, match="x: 'bass' has samples that are infinite or not numbers"):
        measure(make_track(**broken), "bass")


def test_a_judge_has_to_know_every_stem() -> None:
    JUDGE.check_stems(("bass", "drums"))
    with pytest.raises(ConfigError, match=r"bands: gives no source 'vocal'.*'vocals'.*--stems"):
        JUDGE.check_stems(("bass", "vocal"))
    with pytest.raises(ConfigError, match="bands: gives bass alone"):
        replace(JUDGE, sources=("bass",)).check_stems(("bass",))
