"""Numbers to judge a demo song by: levels, activity, and the score of doing nothing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from mss.data.synth.score import STEMS

_BLOCK_SECONDS = 0.5
_SILENCE_DB = -30.0  # of a block, relative to the stem's mean power


@dataclass(frozen=True)
class StemStats:
    """One stem of one song.

    Attributes:
        level_db: power relative to the mixture's.
        active: share of half-second blocks that are not rests.
        best_gain_sdr: SDR in dB of the mixture at its best constant gain: the score of doing
            nothing.
    """

    level_db: float
    active: float
    best_gain_sdr: float


@dataclass(frozen=True)
class SongStats:
    """One song. `peak` is the mixture's in dBFS; `exact_sum`: the mixture equals the stems' sum."""

    name: str
    seconds: float
    peak_db: float
    loudness_db: float
    exact_sum: bool
    stems: dict[str, StemStats]


def song_stats(folder: Path) -> SongStats:
    """Read one song's folder and measure it."""
    mixture, samplerate = _read(folder / "mixture.wav")
    stems = {stem: _read(folder / f"{stem}.wav")[0] for stem in STEMS}
    floating = mixture.astype(np.float64)
    return SongStats(
        name=folder.name,
        seconds=len(mixture) / samplerate,
        peak_db=float(20 * np.log10(np.abs(floating).max() / 32768)),
        loudness_db=float(10 * np.log10(np.square(floating / 32768).mean())),
        exact_sum=bool(np.array_equal(sum(stems.values()), mixture)),
        stems={stem: _stem_stats(wave, floating, samplerate) for stem, wave in stems.items()},
    )


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Return [frames, channels] 16-bit samples, held in int32 so that sums cannot wrap."""
    wave, samplerate = soundfile.read(path, dtype="int16", always_2d=True)
    return wave.astype(np.int32), samplerate


def _stem_stats(wave: np.ndarray, mixture: np.ndarray, samplerate: int) -> StemStats:
    stem = wave.astype(np.float64)
    power = np.square(stem).sum()
    gain = (stem * mixture).sum() / np.square(mixture).sum()
    error = np.square(stem - gain * mixture).sum()
    block = int(_BLOCK_SECONDS * samplerate)
    count = len(stem) // block
    blocks = np.square(stem[: count * block]).reshape(count, -1).sum(axis=1)
    threshold = blocks.mean() * 10 ** (_SILENCE_DB / 10)
    return StemStats(
        level_db=float(10 * np.log10(power / np.square(mixture).sum())),
        active=float((blocks > threshold).mean()),
        best_gain_sdr=float(10 * np.log10(power / error)),
    )
