"""`stemgrid separate`: recordings in, one file a source out."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

from mss.api.events import SongDone, SongFailed, SongSkipped
from mss.api.inputs import find_songs, lengths
from mss.api.options import (
    WHOLE,
    Backend,
    OutputOptions,
    Precision,
    SeparationOptions,
    parse_seconds,
)
from mss.cli.models import add_repo_argument
from mss.cli.reporting import FLOAT_FORMAT, JsonLines, Reporter, Terminal
from mss.cli.signals import killed_by_interrupt, stopped_by_signals
from mss.core.audio_formats import OUTPUT_FORMATS, parse_format
from mss.core.errors import ConfigError, StemgridError
from mss.infer.rescale import Rescale
from mss.infer.song_names import DEFAULT_TEMPLATE, NameTemplate

SUMMARY = "separate recordings: OUT/<song>/<source>.<ext>"

Value = TypeVar("Value")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="audio or video files, folders (with all folders in them), or patterns (songs/*.mp3)",
    )
    add_repo_argument(parser)
    parser.add_argument(
        "-n",
        "--name",
        metavar="MODEL",
        help="a model's full name, its signature, or the start of either (default: the repo's "
        "default model; see `stemgrid models`)",
    )
    _add_what_comes_out(parser.add_argument_group("what comes out"))
    _add_where_it_goes(parser.add_argument_group("where it goes"))
    _add_how_it_runs(parser.add_argument_group("how it runs"))


def _add_what_comes_out(group: argparse._ArgumentGroup) -> None:
    some = group.add_mutually_exclusive_group()
    some.add_argument(
        "--stems", nargs="+", default=(), metavar="STEM", help="these sources only, in this order"
    )
    some.add_argument(
        "--two-stems", metavar="STEM", help="this source, and the mixture without it: no_STEM"
    )
    group.add_argument(
        "--residual", action="store_true", help="write what the stems leave of the mixture, too"
    )
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--format",
        type=_argument(parse_format),
        default="wav16",
        metavar="FORMAT",
        help=f"one of {', '.join(OUTPUT_FORMATS)}; wav is wav32; bit rates as in mp3-192, m4a-192, "
        "opus-128 (of 48 kHz recordings), qualities as in ogg-q6 (default: %(default)s)",
    )
    which.add_argument(
        "--float32",
        action="store_const",
        const=FLOAT_FORMAT,
        dest="format",
        help=f"as --format {FLOAT_FORMAT}: never clips",
    )
    group.add_argument(
        "--rescale",
        choices=get_args(Rescale),
        default="none",
        help="shared: where a stem is beyond full scale, lower all stems of the song by one gain",
    )


def _add_where_it_goes(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("separated"),
        metavar="FOLDER",
        help="where the songs' folders go (default: %(default)s)",
    )
    group.add_argument(
        "--name-template",
        type=_argument(NameTemplate),
        default=NameTemplate(DEFAULT_TEMPLATE),
        metavar="TEMPLATE",
        help="of a file beneath OUT, of {song} {stem} {ext} {model} {folder} "
        f"(default: {DEFAULT_TEMPLATE})",
    )
    group.add_argument(
        "--skip-existing", action="store_true", help="leave out songs whose files are all there"
    )
    group.add_argument(
        "--json", action="store_true", help="tell what happens as JSON, one object a line"
    )


def _add_how_it_runs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps, or auto: the first accelerator there is (default)",
    )
    group.add_argument(
        "--backend",
        choices=get_args(Backend),
        default="auto",
        help="what runs the network; auto (default): an exported one where it is faster, which is "
        "exported once, for 3 minutes of audio or more; torch: the reference, exact",
    )
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="auto",
        help="of products; auto (default): rounded where this machine is faster so and the result "
        "was seen to stay close; float32: exact",
    )
    group.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let torch compile the network (default: on a GPU, where the audio is long enough)",
    )
    group.add_argument(
        "--segment",
        type=_argument(_segment),
        metavar="SECONDS",
        help="length of one chunk; shorter takes less memory; "
        f"{WHOLE}: the whole song at once (default: the model's)",
    )
    group.add_argument(
        "--overlap",
        type=_overlap,
        metavar="SHARE",
        help="share of a chunk that the next one repeats, from 0 to below 1 (default: the model's)",
    )
    group.add_argument(
        "--shifts",
        type=_count(0),
        default=0,
        metavar="N",
        help="take the mean over N random shifts in time: N times the work (default: %(default)s)",
    )
    group.add_argument(
        "--seed", type=_count(0), default=0, metavar="N", help="of the shifts (default: 0)"
    )
    group.add_argument(
        "--batch-size",
        type=_count(1),
        metavar="N",
        help="chunks separated together (default: as this machine is fastest)",
    )
    group.add_argument(
        "--jobs",
        type=_count(1),
        default=1,
        metavar="N",
        help="songs separated at once, with one model and the threads shared (default: 1)",
    )
    group.add_argument(
        "--threads",
        type=_count(1),
        metavar="N",
        help="CPU threads (default: as this machine is fastest)",
    )
    group.add_argument(
        "--plugins",
        action="store_true",
        help="let an installed plug-in give the model's architecture",
    )


def _argument(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """Return a parser whose ConfigError is a wrong argument."""

    def parsed(text: str) -> Value:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def _segment(text: str) -> Any:
    return text if text == WHOLE else parse_seconds(text)


def _overlap(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return share


def _count(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return count


def run(arguments: argparse.Namespace) -> int:
    """Separate every file; return 1 where some could not be, after the others are done.

    Raises:
        StemgridError: the model, the device or an option is at fault; or the only file is.
    """
    with killed_by_interrupt():
        from mss.api.separator import SongSeparator, failure_message

    options = SeparationOptions(
        stems=tuple(arguments.stems),
        two_stems=arguments.two_stems,
        shifts=arguments.shifts,
        seed=arguments.seed,
        segment=arguments.segment,
        overlap=arguments.overlap,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        backend=arguments.backend,
        precision=arguments.precision,
        compile=arguments.compile,
        residual=arguments.residual,
    )
    output = OutputOptions(
        format=arguments.format,
        rescale=arguments.rescale,
        template=arguments.name_template,
        skip_existing=arguments.skip_existing,
    )
    found = find_songs(arguments.files, arguments.out)
    reporter: Reporter = JsonLines() if arguments.json else Terminal(whole=not options.stems)
    failures: list[str] = []
    total = 0
    with stopped_by_signals():
        separator = SongSeparator(
            arguments.name, arguments.repo, arguments.device, options, plugins=arguments.plugins
        )
        separator.check_places(found, arguments.out, output)  # before anything that takes long
        seconds = lengths(found)
        separator.prepare(sum(seconds), max(seconds, default=0.0), _note)
        if (warning := separator.memory_warning(arguments.jobs)) is not None:
            _note(f"warning: {warning}")
        events = separator.run(found, arguments.out, output, jobs=arguments.jobs)
        with contextlib.closing(events), reporter:
            for event in events:
                reporter.show(event)
                total += isinstance(event, SongDone | SongSkipped | SongFailed)
                if isinstance(event, SongFailed):
                    failures.append(event.error)
    if failures:
        raise StemgridError(failure_message(failures, total))
    return 0


def _note(text: str) -> None:
    print(f"stemgrid: {text}", file=sys.stderr, flush=True)
