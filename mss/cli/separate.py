"""`stemgrid separate`: recordings in, one file a source out."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from mss.cli.models import add_repo_argument
from mss.core.audio_formats import OUTPUT_FORMATS, OutputFormat, parse_format
from mss.core.errors import ConfigError, StemgridError
from mss.infer.song_names import song_names

if TYPE_CHECKING:
    import torch

    from mss.infer.files import SeparatedFile

SUMMARY = "separate recordings: OUT/<song>/<source>.<ext>"

FLOAT_FORMAT = "wav32"
"""The format to advise where samples were clipped."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="audio or video files")
    add_repo_argument(parser)
    parser.add_argument(
        "-n",
        "--name",
        metavar="MODEL",
        help="a model's full name, its signature, or the start of either (default: the repo's "
        "default model; see `stemgrid models`)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("separated"),
        metavar="FOLDER",
        help="where the songs' folders go (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        type=_format,
        default="wav16",
        metavar="FORMAT",
        help=f"one of {', '.join(OUTPUT_FORMATS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps, or auto: the first accelerator there is (default)",
    )
    parser.add_argument(
        "--segment",
        type=_seconds,
        metavar="SECONDS",
        help="length of one chunk; shorter takes less memory (default: the model's)",
    )
    parser.add_argument(
        "--overlap",
        type=_overlap,
        metavar="SHARE",
        help="share of a chunk that the next one repeats, from 0 to below 1 (default: the model's)",
    )
    parser.add_argument(
        "--batch-size",
        type=_count,
        default=1,
        metavar="N",
        help="chunks separated together (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="CPU threads (default: torch's choice)"
    )
    parser.add_argument(
        "--plugins",
        action="store_true",
        help="let an installed plug-in give the model's architecture",
    )


def _format(text: str) -> OutputFormat:
    try:
        return parse_format(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> Fraction:
    try:
        seconds = Fraction(text)
    except (ValueError, ZeroDivisionError):
        seconds = Fraction(0)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, as 7.8 is")
    return seconds


def _overlap(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return share


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Separate every file; return 1 where some could not be, after the others are done.

    Raises:
        StemgridError: the model, the device or an option is at fault; or the only file is.
    """
    import torch

    from mss.infer.bag import bag_chunk_fn
    from mss.infer.files import separate_file
    from mss.infer.plan import make_plan
    from mss.release.repo import Repo

    songs = song_names(arguments.files)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    release = Repo(arguments.repo).load(arguments.name, device, arguments.plugins)
    inference = release.inference
    if arguments.segment is not None:
        inference = replace(inference, segment=arguments.segment)
    if arguments.overlap is not None:
        inference = replace(inference, overlap=arguments.overlap)
    make_plan(release.spec, inference, arguments.batch_size)  # refuses nonsense before any work
    chunk_fn = bag_chunk_fn(release.members, release.weights)
    failures: list[str] = []
    with _terminated_as_exit():
        for path, name in songs.items():
            try:
                with _progress_bar(name) as progress:
                    result = separate_file(
                        chunk_fn,
                        release.spec,
                        inference,
                        path,
                        arguments.out,
                        arguments.format,
                        name=name,
                        batch_size=arguments.batch_size,
                        progress=progress,
                    )
            except StemgridError as error:
                failures.append(str(error))
            except torch.OutOfMemoryError as error:
                raise StemgridError(
                    f"{path}: the device {device} has too little memory; give a shorter --segment "
                    f"(now {float(inference.segment or 0):g} s), --batch-size 1, or --device cpu"
                ) from error
            else:
                _tell(result, arguments.format)
    return _tell_failures(failures, len(songs))


def choose_device(name: str) -> torch.device:
    """Return the device of a name; "auto": the first accelerator there is, else the CPU.

    Raises:
        ConfigError: no such device, or this machine has none.
    """
    import torch

    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"--device {name}: can't be used here ({str(error).splitlines()[0]}). "
            "Leave the option out, or give cpu."
        ) from error
    return device


@contextlib.contextmanager
def _progress_bar(name: str) -> Iterator[Callable[[float], None]]:
    """Yield a function that moves a bar on stderr to a share in [0, 1]; none off a terminal."""
    from tqdm import tqdm

    form = "{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left"
    with tqdm(total=1.0, desc=name[:40], bar_format=form, leave=False, disable=None) as bar:

        def move_to(share: float) -> None:
            bar.update(share - bar.n)

        yield move_to


@contextlib.contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """Let SIGTERM (a scheduler's, a closed session's) clean up as Ctrl-C does, then exit 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def _tell(result: SeparatedFile, fmt: OutputFormat) -> None:
    """Print what was written, and warn of what the format cut off."""
    folder = next(iter(result.stems.values())).parent
    minutes, seconds = divmod(result.frames / result.samplerate, 60)
    facts = f"{fmt.name}, {result.samplerate} Hz, {int(minutes)}:{seconds:04.1f}"
    if len(result.stems) > 1 and result.sum_error_db is not None:
        facts += f", mixture minus stems {result.sum_error_db:.1f} dB"
    print(f"{folder}: {', '.join(result.stems)} ({facts})", flush=True)
    clipped = {source: count for source, count in result.clipped.items() if count}
    if clipped:
        counts = ", ".join(f"{count} of {source}" for source, count in clipped.items())
        print(
            f"stemgrid: warning: {folder}: samples beyond full scale were cut off: {counts}; "
            f"--format {FLOAT_FORMAT} keeps them",
            file=sys.stderr,
        )


def _tell_failures(failures: list[str], total: int) -> int:
    """Return the exit code; where some of several files failed, print which and why."""
    if not failures:
        return 0
    if total == 1:
        raise StemgridError(failures[0])
    listed = "".join(f"\n  {failure}" for failure in failures)
    raise StemgridError(f"{len(failures)} of {total} files could not be separated:{listed}")
