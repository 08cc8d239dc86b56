"""Framewise scores of a song in museval's own layout: its tools read ours, and we read theirs.

``ROOT/test/SONG.json``: for each target its frames, each with time, duration (seconds) and the
metrics SDR, ISR, SIR, SAR (dB). A value that is not defined, or infinite, is NaN there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from mss.core.errors import DataError
from mss.core.files import write_text_atomic

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
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(target["name"]): {
                metric: [_number(frame["metrics"].get(metric)) for frame in target["frames"]]
                for metric in METRICS
            }
            for target in content["targets"]
        }
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
