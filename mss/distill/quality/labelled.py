"""Score labelled songs: what scores say, beside the true SDR of each segment."""

from __future__ import annotations

import hashlib
from collections import Counter

import torch
from einops import reduce
from torch import Tensor

from mss.core.targets import TargetMap
from mss.data.tracks import MIXTURE, IndexedTrack
from mss.distill.quality.recording import Recording
from mss.distill.quality.scorer import SegmentScorer, score_segments
from mss.distill.quality.store import ScoredTrack
from mss.distill.quality.table import Row, true_rows


def score_labelled(
    track: IndexedTrack, scorer: SegmentScorer, targets: TargetMap, seconds: float | None = None
) -> ScoredTrack:
    """Score the segments of a song, read a segment at a time.

    Args:
        track: the song.
        scorer: at the song's sample rate.
        targets: which stems sum to which of the scorer's sources; others of its sources are
            separated and not judged.
        seconds: of the song's middle that is scored; None: all of it.

    Raises:
        DataError: a stem can't be read, or an estimate is not a number.
    """
    rows: list[Row] = []
    silent = Counter(dict.fromkeys(targets.sources, 0))
    mixture = Recording(lambda start, frames: track.read(MIXTURE, start, frames), track.length)
    for segment in score_segments(scorer, mixture, span=middle(track, seconds)):
        place = segment.start, segment.frames
        references = {
            source: _sum(track, stems, *place)
            for source, stems in zip(targets.sources, targets.stems, strict=True)
        }
        known, without = true_rows(
            track.name, segment, references, track.read(MIXTURE, *place), track.samplerate
        )
        rows += known
        silent.update(without)
    return ScoredTrack(track.name, content_hash(track), tuple(rows), dict(silent))


def middle(track: IndexedTrack, seconds: float | None) -> tuple[int, int]:
    """Return first sample and number of samples of the middle of a song."""
    wanted = track.length if seconds is None else round(seconds * track.samplerate)
    frames = min(track.length, wanted)
    return (track.length - frames) // 2, frames


def content_hash(track: IndexedTrack) -> str:
    """Return a hash of a song's audio."""
    digest = hashlib.sha256()
    for stem in sorted(track.facts):
        digest.update(f"{stem}\0{track.facts[stem].sha256}\n".encode())
    return digest.hexdigest()


def _sum(track: IndexedTrack, stems: tuple[str, ...], start: int, frames: int) -> Tensor:
    waves = torch.stack([track.read(stem, start, frames) for stem in stems])
    return reduce(waves, "k c t -> c t", "sum")
