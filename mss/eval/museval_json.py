"""Framewise scores of a song in museval's own layout: its tools read ours, and we read theirs.

``ROOT/test/SONG.json``: for each target its frames, each with time, duration (seconds) and the
metrics SDR, ISR, SIR, SAR (dB). A value that is not defined, or infinite, is NaN there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from mss.core.errors import DataError
from mss.core.files import write_text_atomic

_Read = TypeVar("_Read")

METRICS = ("SDR", "ISR", "SIR", "SAR")

Framewise = Mapping[str, Mapping[str, Sequence[float]]]
"""{target: {metric: a score for each frame}}."""


def write_museval_json(
    path: Path, framewise: Framewise, window: Fraction, hop: Fraction, version: str
) -> None:
    """Write a song's scores.

    Args:
        path: of the file.
        framewise: all four of METRICS for each target.
        window: seconds of a frame.
        hop: seconds between the starts of two frames.
        version: what computed the scores.
    """
    targets = [
        {
            "name": target,
            "frames": [
                {
                    "time": float(index * hop),
                    "duration": float(window),
                    "metrics": dict(zip(METRICS, map(_rounded, row), strict=True)),
                }
                for index, row in enumerate(zip(*(scores[name] for name in METRICS), strict=True))
            ],
        }
        for target, scores in framewise.items()
    ]
    content = {"targets": targets, "museval_version": version}
    # NaN is no JSON, but it is what museval writes and reads
    write_text_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_museval_json(path: Path) -> dict[str, dict[str, list[float]]]:
    """Return {target: {metric: a score for each frame}} of a file that museval wrote.

    Raises:
        DataError: the file can't be read, or is none of museval's.
    """
    return _read_targets(
        path,
        lambda frames: {
            metric: [_number(frame["metrics"].get(metric)) for frame in frames]
            for metric in METRICS
        },
    )


def read_museval_framing(path: Path) -> tuple[Fraction, Fraction | None]:
    """Return the seconds of a frame, and between two starts, of a file that museval wrote.

    Both to the microsecond. The second is None where no target has two frames.

    Raises:
        DataError: the file can't be read, is none of museval's, or its frames are not all alike.
    """

    def framing(frames: Any) -> tuple[set[Fraction], set[Fraction]]:
        times = [_seconds(frame["time"]) for frame in frames]
        steps = {after - before for before, after in pairwise(times)}
        return {_seconds(frame["duration"]) for frame in frames}, steps

    of_targets = _read_targets(path, framing).values()
    windows = set().union(*(windows for windows, _ in of_targets))
    hops = set().union(*(steps for _, steps in of_targets))
    if len(windows) != 1 or len(hops) > 1:
        raise DataError(f"{path}: its frames are not of one length at equal distances")
    return windows.pop(), hops.pop() if hops else None


def _read_targets(path: Path, read: Callable[[Any], _Read]) -> dict[str, _Read]:
    """Return for each target what `read` makes of its frames."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return {str(target["name"]): read(target["frames"]) for target in content["targets"]}
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is not a song's scores in museval's layout (targets, frames, metrics)"
        ) from error


def _rounded(score: float) -> float:
    """Round to museval's five digits."""
    return round(score, 5) if math.isfinite(score) else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _seconds(value: float) -> Fraction:
    return Fraction(f"{value:.6f}")  # no infinity: Fraction refuses it by a ValueError
