"""How a separation is shown: a bar and a line a song for people, JSON lines for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Protocol, TextIO

from mss.api.events import (
    Event,
    RunStarted,
    SongDone,
    SongFailed,
    SongProgress,
    SongSkipped,
    SongStarted,
    as_json,
)

if TYPE_CHECKING:
    from tqdm import tqdm

FLOAT_FORMAT = "wav32"
"""The format to advise where samples were clipped."""

_BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left"
_FINISHED = (SongDone, SongSkipped, SongFailed)


class Reporter(Protocol):
    """Shows events as they come, in a `with` block."""

    def __enter__(self) -> Reporter: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Show an event."""


class JsonLines:
    """One JSON object a line on stdout; mss.api.events describes them."""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        print(json.dumps(as_json(event), allow_nan=False), flush=True)


class Terminal:
    """A line a song on stdout; on stderr warnings, and on a terminal a bar with the time left."""

    def __init__(self, whole: bool) -> None:
        """Args: whole: all sources are written, so that what they leave of the mix is an error."""
        self._whole = whole
        self._bar: tqdm[NoReturn] | None = None
        self._total = 0
        self._finished = 0
        self._shares: dict[Path, float] = {}

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._start(event)
            case SongStarted():
                self._shares[event.path] = 0.0
            case SongProgress():
                self._shares[event.path] = event.share
            case SongDone():
                self._write(line(event, self._whole), sys.stdout)
                for warning in warnings(event):
                    self._write(f"stemgrid: warning: {warning}", sys.stderr)
            case SongSkipped():
                self._write(f"{common_folder(event.stems)}: skipped, is there", sys.stdout)
            case SongFailed() if self._total > 1:
                self._write(f"{event.path}: failed, see below", sys.stdout)
        if isinstance(event, _FINISHED):
            self._shares.pop(event.path, None)
            self._finished += 1
        self._move()

    def _start(self, event: RunStarted) -> None:
        from tqdm import tqdm

        self._total = event.files
        print(event.setup, flush=True)
        self._bar = tqdm(total=float(event.files), bar_format=_BAR, leave=False, disable=None)

    def _move(self) -> None:
        if self._bar is None or self._bar.disable:
            return
        running = ", ".join(path.stem for path in self._shares)
        counted = f"{self._finished + len(self._shares)}/{self._total} " if self._total > 1 else ""
        self._bar.set_description_str(counted + running[:40], refresh=False)
        self._bar.update(self._finished + sum(self._shares.values()) - self._bar.n)

    def _write(self, text: str, file: TextIO) -> None:
        """Print a line without leaving a piece of the bar in it."""
        if self._bar is not None and not self._bar.disable:
            self._bar.clear()
        print(text, file=file, flush=True)


def line(event: SongDone, whole: bool) -> str:
    """Return what was written, in one line."""
    result = event.result
    minutes, seconds = divmod(result.frames / result.samplerate, 60)
    facts = [event.format, f"{result.samplerate} Hz", f"{int(minutes)}:{seconds:04.1f}"]
    if whole and len(result.stems) > 1 and result.sum_error_db is not None:
        facts.append(f"mixture minus stems {result.sum_error_db:.1f} dB")
    if result.gain != 1:
        facts.append(f"all stems times {result.gain:.3f} so that none clips")
    return f"{common_folder(result.stems)}: {', '.join(result.stems)} ({', '.join(facts)})"


def warnings(event: SongDone) -> list[str]:
    """Return what a song's files lack: samples that were cut off, tags that have no place."""
    folder = common_folder(event.result.stems)
    clipped = {source: count for source, count in event.result.clipped.items() if count}
    found = [f"{folder}: not copied: {phrase}" for phrase in event.result.left_out]
    if clipped:
        counts = ", ".join(f"{count} of {source}" for source, count in clipped.items())
        found.append(
            f"{folder}: samples beyond full scale were cut off: {counts}; --format {FLOAT_FORMAT} "
            "keeps them, --rescale shared lowers all stems"
        )
    return found


def common_folder(stems: dict[str, Path]) -> Path:
    """Return the folder of a song's files, or the file where there is one only beside others'."""
    folders = {path.parent for path in stems.values()}
    if len(folders) == 1:
        return folders.pop()
    return next(iter(stems.values()))
