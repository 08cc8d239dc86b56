"""Many songs to files, some at once, told event by event."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mss.api.events import (
    Event,
    RunEnded,
    RunStarted,
    Setup,
    SongDone,
    SongFailed,
    SongProgress,
    SongSkipped,
    SongStarted,
)
from mss.api.inputs import Found
from mss.api.jobs import Caller, in_threads
from mss.api.options import OutputOptions
from mss.api.progress import with_time_left
from mss.core.errors import ConfigError, StemgridError
from mss.infer.engine import Engine
from mss.infer.files import separate_file
from mss.infer.out_of_memory import is_out_of_memory
from mss.infer.song_names import Song, check_places, song_names
from mss.infer.staging import is_complete, removed_if_empty

_TELL_EVERY = 0.2
"""Seconds between two events of one song's progress."""


@dataclass(frozen=True)
class Task:
    """A song, what it is called, and where its files go beneath the output folder."""

    song: Song
    name: str
    places: dict[str, Path]


def run_songs(
    engine: Engine,
    stems: Sequence[str],
    setup: Setup,
    found: Found,
    out: Path,
    output: OutputOptions,
    residual: bool,
) -> Generator[Event, None, None]:
    """Separate songs into files beneath `out` and yield what happens.

    Close the iterator, or let an exception through it, to stop: it returns when all threads have
    ended and what was half done is removed.

    Args:
        engine: what separates; its threads share it.
        stems: names of a song's files.
        setup: what runs; its jobs and threads are followed.
        found: the songs; its faults count as songs that failed.
        out: folder; is created.
        output: how the stems are written.
        residual: whether the last of `stems` is what the others leave of the mixture.

    Raises:
        ConfigError: the name template maps two files to one path, or a stem to a recording.
    """
    start = time.monotonic()
    tasks = plan(stems, setup.model, found, out, output)
    counts = dict.fromkeys((SongDone, SongSkipped, SongFailed), 0)

    def work(task: Task, caller: Caller[Event]) -> None:
        torch.set_num_threads(setup.threads)
        _separate(engine, task, out, output, residual, caller)

    yield RunStarted(setup, found.total)
    for path, fault in found.faults.items():
        counts[SongFailed] += 1
        yield SongFailed(path, fault)
    with removed_if_empty([out]):
        events = in_threads(tasks, work, min(setup.jobs, max(1, len(tasks))))
        try:
            for event in events:
                if type(event) in counts:
                    counts[type(event)] += 1
                yield event
        finally:
            events.close()
    done, skipped, failed = counts.values()
    yield RunEnded(done, skipped, failed, round(time.monotonic() - start, 3))


def plan(
    stems: Sequence[str], model: str, found: Found, out: Path, output: OutputOptions
) -> list[Task]:
    """Return where each song's files go.

    Where `out` is the folder that is separated, an earlier run's stems lie among the songs: with
    skip_existing, those of songs that are complete are left out. (Without it they might be
    recordings, which nothing may overwrite.)

    Raises:
        ConfigError: the name template maps two files to one path, or a stem to a recording.
    """
    template = output.name_template
    tasks = _tasks(stems, model, found.songs, output)
    made: set[str] = set()
    for task in tasks if output.skip_existing else ():
        files = [out / place for place in task.places.values()]
        if is_complete(out, task.name, files):
            made |= {os.path.realpath(file) for file in files}
    songs = [
        song
        for song in found.songs
        if not (song.from_folder and os.path.realpath(song.path) in made)
    ]
    if len(songs) < len(found.songs):
        tasks = _tasks(stems, model, songs, output)
    places = [place for task in tasks for place in task.places.values()]
    check_places(places, template)
    recordings = {os.path.realpath(song.path) for song in songs}
    for place in places:
        if os.path.realpath(out / place) in recordings:
            raise ConfigError(
                f"{out / place}: a stem would overwrite this recording. Choose another folder "
                "with -o (or --skip-existing, where it is a stem of an earlier run)."
            )
    return tasks


def _tasks(
    stems: Sequence[str], model: str, songs: Sequence[Song], output: OutputOptions
) -> list[Task]:
    template, ext = output.name_template, output.audio_format.extension.removeprefix(".")
    return [
        Task(
            song,
            name,
            {stem: template.place(name, stem, ext, model, song.folder) for stem in stems},
        )
        for song, name in song_names(songs).items()
    ]


def _separate(
    engine: Engine,
    task: Task,
    out: Path,
    output: OutputOptions,
    residual: bool,
    caller: Caller[Event],
) -> None:
    """Separate one song, and tell what became of it."""
    path = task.song.path
    stems = {stem: out / place for stem, place in task.places.items()}
    if output.skip_existing and is_complete(out, task.name, stems.values()):
        caller.tell(SongSkipped(path, stems))
        return
    caller.tell(SongStarted(path))
    start = told = time.monotonic()

    def progress(share: float, seconds_left: float | None) -> None:
        nonlocal told
        caller.check()
        if time.monotonic() - told >= _TELL_EVERY:
            told = time.monotonic()
            caller.tell(SongProgress(path, share, seconds_left))

    try:
        result = separate_file(
            engine,
            path,
            out,
            output.audio_format,
            name=task.name,
            places=task.places,
            rescale=output.rescale,
            residual=residual,
            progress=with_time_left(progress),
        )
    except StemgridError as error:
        caller.tell(SongFailed(path, str(error)))
    except OSError as error:
        caller.tell(SongFailed(path, f"{error.filename or path}: {error.strerror or error}"))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        caller.tell(
            SongFailed(
                path,
                f"{path}: there is too little memory; give a shorter --segment, fewer --jobs, or "
                "--device cpu",
            )
        )
    else:
        seconds = time.monotonic() - start
        caller.tell(SongDone(path, result, output.audio_format.name, seconds))
