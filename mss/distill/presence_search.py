"""Finding where stems are silent in recordings without stems."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.files import write_json_atomic
from mss.data.folder import FolderDataset
from mss.data.scan import find_tracks
from mss.data.silent import SilentSpan, joined
from mss.data.tracks import MIXTURE, IndexedTrack, TrackSet
from mss.distill.items import SILENCE
from mss.distill.presence import PresenceDetector
from mss.distill.presence_net import PresenceConfig

logger = logging.getLogger(__name__)

_WINDOWS = 16
"""Heard at a time: with their spectra 150 MB of stereo at 44.1 kHz and 5 s."""


@dataclass(frozen=True)
class Silence:
    """Where stems are silent in recordings.

    Attributes:
        recordings: those that were looked at.
        spans: joined, in order of song, stem and start.
        short: names of the recordings that are shorter than what the net hears at a time.
    """

    recordings: TrackSet
    spans: tuple[SilentSpan, ...]
    short: tuple[str, ...]

    def seconds(self, stem: str) -> float:
        """Return how long a stem is silent in all recordings together."""
        frames = sum(span.frames for span in self.spans if span.stem == stem)
        return frames / self.recordings.samplerate


def open_recordings(root: Path, config: PresenceConfig) -> TrackSet:
    """Return ROOT/NAME/mixture.wav (or ROOT/train/NAME/...), as a training will read them.

    Files of other channels are converted; those of another sample rate are refused, as training
    refuses them: a span is a number of the file's own samples.

    Raises:
        DataError: there are none, or one is damaged or of another sample rate.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; expected is ROOT/NAME/{MIXTURE}.wav")
    if not any(root.glob(f"*/{MIXTURE}.*")) and not any(root.glob(f"train/*/{MIXTURE}.*")):
        raise DataError(f"{root}: there are no recordings; expected is ROOT/NAME/{MIXTURE}.wav")
    folders = find_tracks(root).get("train", [])
    for folder in folders:
        if MIXTURE not in folder.files:
            raise DataError(
                f"{folder.path}: holds no {MIXTURE}.wav (or .flac); add it, or move the folder out"
            )
    dataset = FolderDataset(
        FolderDataset.Config(
            root=str(root),
            stems=(MIXTURE,),
            mixture="",  # it is what is read, not what the stems add up to
            samplerate=None,
            channels=config.channels,
        ),
        name=root.name,
    )
    recordings = dataset.every_song()
    if recordings.samplerate != config.samplerate:
        path = folders[0].files[MIXTURE]
        raise DataError(
            f"{path}: has {recordings.samplerate} Hz, and the presence net hears"
            f" {config.samplerate} Hz. Convert the recordings (`ffmpeg -i OLD.wav -ar"
            f" {config.samplerate} NEW.wav`)"
        )
    return recordings


def find_silence(
    detector: PresenceDetector,
    recordings: TrackSet,
    stems: Collection[str] = (),
    progress: bool = False,
) -> Silence:
    """Look for silent stems, in memory that does not grow with the recordings.

    One core hears some hundred seconds of stereo a second, so that nothing is kept to go on from.

    Args:
        detector: what to go by; windows are heard on its net's device.
        recordings: of its sample rate and channels.
        stems: only these; empty: all that it has a threshold for.
        progress: show a bar.

    Raises:
        ConfigError: a stem that the net does not tell, or not surely enough.
        DataError: a recording can't be read.
    """
    from tqdm import tqdm

    wanted = _wanted(detector, stems)
    spans: list[SilentSpan] = []
    short = []
    for track in tqdm(recordings.tracks, desc="listening", disable=None if progress else True):
        if track.length < detector.config.segment_frames:
            short.append(track.name)
            continue
        spans += (span for span in _spans(detector, track) if span.stem in wanted)
    return Silence(recordings, tuple(joined(spans)), tuple(short))


def _wanted(detector: PresenceDetector, stems: Collection[str]) -> frozenset[str]:
    levels = detector.levels
    for stem in stems:
        if stem not in levels:
            raise ConfigError(
                f"the presence net does not tell {stem!r}.{nearest_name_hint(stem, levels)}"
            )
        if levels[stem] is None:
            raise ConfigError(
                f"{stem}: the presence net has no threshold for it: none was sure enough on the"
                " held-out songs; leave it out, or train with more of them"
            )
    found = frozenset(stems) or frozenset(s for s, level in levels.items() if level is not None)
    if not found:
        raise ConfigError(
            "the presence net has no threshold for any stem: none was sure enough on the held-out"
            " songs; train it with more of them"
        )
    return found


def window_starts(length: int, frames: int) -> list[int]:
    """Return the first samples of windows side by side; the last one ends where the recording does.

    >>> window_starts(25, 10)
    [0, 10, 15]
    """
    if length < frames:
        return []
    starts = list(range(0, length - frames + 1, frames))
    return starts if length % frames == 0 else [*starts, length - frames]


def _spans(detector: PresenceDetector, track: IndexedTrack) -> Iterator[SilentSpan]:
    """Yield each window of a recording in which a stem is silent."""
    frames, stems = detector.config.segment_frames, detector.config.stems
    device = next(detector.net.parameters()).device
    for starts in _groups(window_starts(track.length, frames), _WINDOWS):
        mix = torch.stack([track.read(MIXTURE, start, frames) for start in starts])  # [b, C, T]
        silent = detector.silent(mix.to(device)).tolist()
        for start, row in zip(starts, silent, strict=True):
            for stem in itertools.compress(stems, row):
                yield SilentSpan(track.name, stem, start, frames)


def _groups(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(values), size):
        yield values[first : first + size]


def write_silence(silence: Silence, detector: PresenceDetector, digest: str, root: Path) -> Path:
    """Write ROOT/silence.json, which mss.distill.items.read_silence reads; return its path.

    Args:
        silence: what was found.
        detector: by which it was.
        digest: SHA-256 of the detector's file.
        root: folder of the recordings.
    """
    path = root / SILENCE
    content = {
        "net": digest,
        "thresholds": detector.levels,
        "silence_db": detector.calibration.criterion.silence_db,
        "samplerate": silence.recordings.samplerate,
        "recordings": silence.recordings.fingerprint,
        "silent": [
            {"song": s.song, "stem": s.stem, "start": s.start, "frames": s.frames}
            for s in silence.spans
        ],
    }
    write_json_atomic(path, content)
    return path
