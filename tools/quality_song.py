"""A song that is opened to be judged without references: its audio, its stems, its scorer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mss.core.errors import DataError
from tools.quality import window_separator

if TYPE_CHECKING:
    import torch

    from mss.core.audio_io import AudioReader
    from mss.core.normalise import MonoStatistics, Normalisation
    from mss.core.types import Normalise
    from mss.distill.quality.config import QualityConfig
    from mss.distill.quality.recording import Recording
    from mss.distill.quality.regressor import RidgeRegressor
    from mss.distill.quality.scorer import SegmentScorer
    from mss.release.repo import Release

_BLOCK = 1 << 16  # samples
_SLACK = 0.1
"""Seconds by which a stem may be longer or shorter than its song: lossy formats pad."""


@dataclass(frozen=True)
class OpenedSong:
    """An audio file that was read once, for its length and its level."""

    reader: AudioReader
    samplerate: int
    channels: int
    length: int
    statistics: MonoStatistics

    def recording(self) -> Recording:
        """Return the file, to be read forwards once more."""
        from mss.distill.quality.recording import ForwardReader, Recording

        return Recording(ForwardReader(self.reader.blocks(_BLOCK)), self.length)

    def normalisation(self, kind: Normalise) -> Normalisation:
        return self.statistics.normalisation(kind)


@contextmanager
def open_song(path: Path) -> Iterator[OpenedSong]:
    """Open a file and listen to all of it."""
    from mss.core.audio_io import open_reader
    from mss.core.normalise import MonoStatistics

    with open_reader(path, check_finite=True) as reader:
        statistics = MonoStatistics()
        for block in reader.blocks(_BLOCK):
            statistics.update(block)
        if not statistics.count:
            raise DataError(f"{path}: holds no samples; there is nothing to separate")
        info = reader.info
        yield OpenedSong(reader, info.samplerate, info.channels, statistics.count, statistics)


def segment_scorer(
    song: OpenedSong,
    release: Release,
    second: Release | None,
    config: QualityConfig,
    partial: bool = False,
) -> SegmentScorer:
    """Return what takes the scores of a song's segments.

    Args:
        song: opened.
        release: the model.
        second: one of another architecture, for the agreement of the two.
        config: of the scores.
        partial: the sources are not all that there is in the song.
    """
    from mss.distill.quality.scorer import OtherModel, SegmentScorer

    device = next((p.device for model in release.members for p in model.parameters()), None)
    other = None
    if second is not None:
        other = OtherModel(
            window_separator(second, song.samplerate, song.normalisation, device=device),
            second.spec.sources,
        )
    return SegmentScorer(
        window_separator(release, song.samplerate, song.normalisation, device=device),
        release.spec.sources,
        song.samplerate,
        config,
        other=other,
        adds_up=not partial,
    )


@contextmanager
def given_stems(
    folder: Path, sources: Sequence[str], song: OpenedSong, option: str
) -> Iterator[Recording]:
    """Give the stems in a folder as one recording [S, C, T], read forwards.

    Args:
        folder: holds SOURCE.wav or SOURCE.flac.
        sources: names of the S stems.
        song: that they are of.
        option: that named the folder, for messages.

    Raises:
        DataError: a stem is missing, or of another song.
    """
    import torch

    from mss.core.audio import convert_channels
    from mss.core.audio_io import open_reader
    from mss.distill.quality.recording import ForwardReader, Recording

    with ExitStack() as stack:
        recordings = []
        for source in sources:
            path = _stem_path(folder, source, option)
            reader = stack.enter_context(open_reader(path, check_finite=True))
            length = reader.info.frames
            if reader.info.samplerate != song.samplerate or length is None:
                raise DataError(
                    f"{path}: has {reader.info.samplerate} Hz, the song {song.samplerate} Hz;"
                    " convert it"
                )
            if abs(length - song.length) > _SLACK * song.samplerate:
                raise DataError(
                    f"{path}: has {length} samples, the song {song.length}: is it a stem of"
                    " another song?"
                )
            recordings.append(Recording(ForwardReader(reader.blocks(_BLOCK)), length))

        def read(start: int, frames: int) -> torch.Tensor:
            stems = [recording.window(start, frames) for recording in recordings]
            return torch.stack([convert_channels(stem, song.channels) for stem in stems])

        yield Recording(read, song.length)


def _stem_path(folder: Path, source: str, option: str) -> Path:
    for suffix in (".wav", ".flac"):
        if (path := folder / f"{source}{suffix}").is_file():
            return path
    there = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []
    raise DataError(
        f"{option}: {folder} holds no {source}.wav (or .flac), which the model separates; there"
        f" {'are' if there else 'is'} {', '.join(there) or 'nothing'}"
    )


@dataclass(frozen=True)
class ScoredRow:
    """The scores of one segment, or of the whole recording.

    Attributes:
        start: seconds.
        seconds: duration.
        scores: {score: {source: value}}; NaN where it is not defined.
        sdr: {source: dB} that a regressor expects; None without one.
        weight: {source: weight of a pseudo-label} of that.
    """

    start: float
    seconds: float
    scores: dict[str, dict[str, float]]
    sdr: dict[str, float] | None = None
    weight: dict[str, float] | None = None


def scored_row(
    start: float,
    seconds: float,
    scores: dict[str, dict[str, float]],
    regressor: RidgeRegressor | None,
) -> ScoredRow:
    """Return a row, with the SDR that the regressor expects where there is one."""
    if regressor is None:
        return ScoredRow(start, seconds, scores)
    import numpy as np

    from mss.distill.quality.weight import weight

    sources = list(next(iter(scores.values())))
    columns = {name: np.array([of[source] for source in sources]) for name, of in scores.items()}
    sdr = regressor.predict(sources, columns)
    return ScoredRow(
        start,
        seconds,
        scores,
        dict(zip(sources, sdr.tolist(), strict=True)),
        dict(zip(sources, weight(sdr).tolist(), strict=True)),
    )
