"""What happens while songs are separated, as values and as JSON.

As JSON, each is one object of the key "event" and these, times in seconds:

    start     model, device, threads, jobs, backend, batch_size, segment, overlap, shifts,
              memory_bytes, files
    song      file
    progress  file, share (0 to 1), seconds_left (null until known); a few a second at most
    done      file, stems {name: path}, format, samplerate, channels, frames, peaks
              {name: magnitude}, clipped {name: samples}, sum_error_db (null: silence; -999:
              exactly nothing), gain, left_out [text], seconds
    skipped   file, stems
    failed    file, error
    end       done, skipped, failed (counts), seconds

"file" is the path as it was found. An interrupted run has no "end". New keys may come; these stay.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mss.infer.files import SeparatedFile

_EXACT = -999.0


@dataclass(frozen=True)
class Setup:
    """What is going to run.

    Attributes:
        model: full name.
        device: such as "cpu" or "cuda:0".
        threads: CPU threads of each song.
        jobs: songs separated at once.
        backend: what runs the network.
        batch_size: chunks separated together.
        segment: seconds of one chunk; None: the whole recording.
        overlap: share of a chunk that the next one repeats.
        shifts: shifts in time that are averaged over; 0: none.
        memory_bytes: an estimate of the peak for one song; None: unknown.
    """

    model: str
    device: str
    threads: int
    jobs: int
    backend: str
    batch_size: int
    segment: float | None
    overlap: float
    shifts: int
    memory_bytes: int | None

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        if self.jobs > 1:
            threads = f"{self.jobs} songs at once of {threads}"
        segment = "the whole song at once"
        if self.segment is not None:
            segment = f"segment {self.segment:g} s, overlap {self.overlap:g}"
        parts = [f"{self.model} on {self.device}", threads, self.backend, segment]
        if self.batch_size > 1:
            segment += f", {self.batch_size} at a time"
        if self.shifts:
            parts.append(f"{self.shifts} shift{'s' if self.shifts > 1 else ''}")
        if self.memory_bytes is not None:
            parts.append(f"about {self.memory_bytes / 2**30:.1f} GiB of memory a song")
        return ", ".join(parts)


@dataclass(frozen=True)
class RunStarted:
    """The model is loaded; `files` songs follow."""

    setup: Setup
    files: int


@dataclass(frozen=True)
class SongStarted:
    """A song's turn has come."""

    path: Path


@dataclass(frozen=True)
class SongProgress:
    """The share of a song that is done, in [0, 1]; seconds_left is None until it can be told."""

    path: Path
    share: float
    seconds_left: float | None


@dataclass(frozen=True)
class SongDone:
    """A song's files are there; `seconds` is how long it took."""

    path: Path
    result: SeparatedFile
    format: str
    seconds: float


@dataclass(frozen=True)
class SongSkipped:
    """A song's files were there already."""

    path: Path
    stems: dict[str, Path]


@dataclass(frozen=True)
class SongFailed:
    """A song can't be separated; nothing of it was written."""

    path: Path
    error: str


@dataclass(frozen=True)
class RunEnded:
    """How many songs came out how."""

    done: int
    skipped: int
    failed: int
    seconds: float


Event = RunStarted | SongStarted | SongProgress | SongDone | SongSkipped | SongFailed | RunEnded


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as the object described above, of JSON's own types."""
    match event:
        case RunStarted():
            return {"event": "start", **asdict(event.setup), "files": event.files}
        case SongStarted():
            return {"event": "song", "file": str(event.path)}
        case SongProgress():
            left = None if event.seconds_left is None else round(event.seconds_left, 1)
            share = round(event.share, 4)
            return {
                "event": "progress",
                "file": str(event.path),
                "share": share,
                "seconds_left": left,
            }
        case SongDone():
            return _done(event)
        case SongSkipped():
            return {"event": "skipped", "file": str(event.path), "stems": _texts(event.stems)}
        case SongFailed():
            return {"event": "failed", "file": str(event.path), "error": event.error}
        case RunEnded():
            return {"event": "end", **asdict(event)}


def _done(event: SongDone) -> dict[str, Any]:
    result = event.result
    error = result.sum_error_db
    return {
        "event": "done",
        "file": str(event.path),
        "stems": _texts(result.stems),
        "format": event.format,
        "samplerate": result.samplerate,
        "channels": result.channels,
        "frames": result.frames,
        "peaks": result.peaks,
        "clipped": result.clipped,
        "sum_error_db": _EXACT if error is not None and math.isinf(error) else error,
        "gain": result.gain,
        "left_out": list(result.left_out),
        "seconds": round(event.seconds, 3),
    }


def _texts(paths: dict[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}
