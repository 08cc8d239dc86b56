"""Find where a stem is silent in recordings without stems: ``python -m tools.presence``.

    python -m tools.presence train dset=... -o net.safetensors     learn what stems sound like
    python -m tools.presence test dset=... --net net.safetensors   precision and recall
    python -m tools.presence find --net net.safetensors --in ROOT  write ROOT/silence.json

A training takes the recordings, ROOT/NAME/mixture.wav, by ``distill=silent_stem distill.songs=NAME
distill.root=ROOT``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mss.core.errors import ConfigError, StemgridError

if TYPE_CHECKING:
    from mss.data.tracks import TrackSet
    from mss.distill.presence import PresenceDetector
    from mss.distill.presence_search import Silence
    from mss.distill.presence_thresholds import SilenceScore
    from mss.report.tables import Column

FEW_SONGS = 10
"""Held-out songs below which thresholds are doubtful, however many excerpts they are cut into."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train, test or use a presence net; return the exit status."""
    args = _parse(sys.argv[1:] if argv is None else argv)
    try:
        print(args.run(args))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"presence: {error}", file=sys.stderr)
        return 1
    return 0


def train(args: argparse.Namespace) -> str:
    """Train a net and find its thresholds; return a table of them."""
    # Here, not above: --help needs neither torch nor hydra.
    from mss import build
    from mss.core.files import file_sha256
    from mss.data.labelnoise import PartlyLabelled
    from mss.distill.presence import Calibration, calibrate, save_detector
    from mss.distill.presence_mixing import Excerpts
    from mss.distill.presence_net import PresenceConfig
    from mss.distill.presence_thresholds import Criterion, check_criterion
    from mss.distill.presence_training import PresenceTraining, new_net, train_presence

    if args.out.suffix != ".safetensors":
        raise ConfigError(f"-o: {args.out} is no name of a net; give one that ends in .safetensors")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = build.compose_config(args.overrides)
    build.prepare_process(cfg)
    dataset = build.build_dataset(cfg)
    tracks, held_out = dataset.split("train"), dataset.split("valid")
    if isinstance(tracks, PartlyLabelled):
        raise ConfigError(
            "dset.per_stem: a presence net learns from right labels alone; set it to false"
        )
    criterion = _typed(
        Criterion, silence_db=args.silence, precision=args.precision, confidence=args.confidence
    )
    calibration = _typed(
        Calibration,
        criterion=criterion,
        excerpts=args.excerpts,
        left_out=args.left_out,
        seed=cfg.seed,
    )
    config = _typed(
        PresenceConfig,
        stems=tracks.stems,
        samplerate=tracks.samplerate,
        channels=tracks.channels,
        segment=args.segment,
    )
    training = _typed(PresenceTraining, steps=args.steps, batch_size=args.batch_size, seed=cfg.seed)
    check_criterion(criterion, config.floor_db)

    net = new_net(config, training.seed).to(build.build_device(cfg))
    excerpts = Excerpts.of(
        net.eval(), held_out, calibration.excerpts, calibration.left_out, calibration.seed
    )
    train_presence(net, tracks, excerpts, training, cfg.misc.workers)
    facts = {
        "dataset": tracks.name,
        "train": tracks.fingerprint,
        "valid": held_out.fingerprint,
        "valid_songs": len(held_out),
    }
    detector = calibrate(net, excerpts, calibration, facts)
    save_detector(detector, args.out)
    text = _thresholds(detector, held_out)
    return f"{text}\n\nNet: {args.out} (SHA-256 {file_sha256(args.out)[:8]})"


def score(args: argparse.Namespace) -> str:
    """Return a table of how well the net finds silence in the songs of a split."""
    from mss import build
    from mss.distill.presence import load_detector
    from mss.distill.presence_mixing import Excerpts
    from mss.distill.presence_training import check_stems

    cfg = build.compose_config(args.overrides)
    build.prepare_process(cfg)
    split = build.build_test(cfg).split
    detector = load_detector(args.net, build.build_device(cfg))
    tracks = build.build_dataset(cfg).split(split)
    check_stems(detector.config, tracks)
    left_out = detector.calibration.left_out if args.left_out is None else args.left_out
    excerpts = Excerpts.of(detector.net, tracks, args.excerpts, left_out, cfg.seed)
    return _scores(detector, detector.scores(excerpts), tracks, left_out)


def find(args: argparse.Namespace) -> str:
    """Look through recordings; write and sum up where which stem is silent."""
    from mss.api.device import choose_device
    from mss.core.files import file_sha256
    from mss.distill.presence import load_detector
    from mss.distill.presence_search import find_silence, open_recordings, write_silence

    detector = load_detector(args.net, choose_device(args.device))
    recordings = open_recordings(args.recordings, detector.config)
    silence = find_silence(detector, recordings, args.stems, progress=True)
    path = write_silence(silence, detector, file_sha256(args.net), args.recordings)
    return f"{_found(silence, detector)}\n\nSilence: {path}"


# -- tables ------------------------------------------------------------------------------------


def _score_columns() -> tuple[Column, ...]:
    from mss.report.tables import Column

    return (
        Column("silent"),
        Column("called"),
        Column("rightly"),
        Column("precision", ".3f"),
        Column("recall", ".3f"),
        Column("AUC", ".3f"),
    )


def _score_cells(score: SilenceScore) -> tuple[Any, ...]:
    return (
        score.silent,
        score.called,
        score.right,
        score.precision,
        score.recall,
        score.auc,
    )


def _thresholds(detector: PresenceDetector, held_out: TrackSet) -> str:
    """Return the thresholds as text, with what they rest on and what is to be doubted."""
    from mss.eval.table import plural
    from mss.report.tables import Column, Table, render_text

    criterion = detector.calibration.criterion
    by_stem = dict(zip(detector.config.stems, detector.thresholds, strict=True))
    notes = [
        f"{stem}: is never called silent: no threshold is right in {criterion.precision:.0%} of"
        f" the calls at {criterion.confidence:.0%} confidence (it takes {criterion.fewest_calls}"
        f" calls without a mistake, or more; it is silent in {threshold.score.silent} excerpts)"
        for stem, threshold in by_stem.items()
        if threshold.level is None
    ]
    if len(held_out) < FEW_SONGS:
        notes.append(
            f"the thresholds rest on {plural(len(held_out), 'song')}, whose excerpts are alike: the"
            f" precision on other songs may be lower; hold out {FEW_SONGS} or more"
        )
    table = Table(
        columns=(
            Column("stem", left=True),
            Column("threshold [dB]", ".2f"),
            *_score_columns(),
            Column("at least", ".3f"),
        ),
        rows=tuple(
            (stem, threshold.level, *_score_cells(threshold.score), threshold.lower)
            for stem, threshold in by_stem.items()
        ),
        title=(
            f"Silence below {criterion.silence_db:g} dB in"
            f" {_excerpts(detector.thresholds[0].score)} of {plural(len(held_out), 'song')} of"
            f" {held_out.name} ({held_out.split})"
        ),
        notes=tuple(notes),
    )
    return render_text(table)


def _scores(
    detector: PresenceDetector,
    scores: dict[str, SilenceScore],
    tracks: TrackSet,
    left_out: float,
) -> str:
    from mss.eval.table import plural
    from mss.report.tables import Column, Table, render_text

    levels = detector.levels
    table = Table(
        columns=(
            Column("stem", left=True),
            Column("threshold [dB]", ".2f"),
            *_score_columns(),
        ),
        rows=tuple((stem, levels[stem], *_score_cells(score)) for stem, score in scores.items()),
        title=(
            f"Silence below {detector.calibration.criterion.silence_db:g} dB in"
            f" {_excerpts(next(iter(scores.values())))} of {plural(len(tracks), 'song')} of"
            f" {tracks.name} ({tracks.split}), {left_out:.0%} of the stems left out"
        ),
    )
    return render_text(table)


def _excerpts(score: SilenceScore) -> str:
    from mss.eval.table import plural

    return plural(score.excerpts, "excerpt")


def _found(silence: Silence, detector: PresenceDetector) -> str:
    from mss.report.tables import Column, Table, render_text

    rows = []
    for stem in detector.config.stems:
        spans = [span for span in silence.spans if span.stem == stem]
        songs = len({span.song for span in spans})
        rows.append((stem, songs, len(spans), silence.seconds(stem) / 60))
    notes = []
    if silence.short:
        notes.append(
            f"{len(silence.short)} recordings are shorter than {detector.config.segment:g} s and"
            f" were not heard, such as {silence.short[0]!r}"
        )
    table = Table(
        columns=(
            Column("stem", left=True),
            Column("songs"),
            Column("silences"),
            Column("minutes", ".1f"),
        ),
        rows=tuple(rows),
        title=(
            f"Silent stems in {len(silence.recordings)} recordings"
            f" ({silence.recordings.seconds / 60:.1f} minutes)"
        ),
        notes=tuple(notes),
    )
    return render_text(table)


# -- arguments ---------------------------------------------------------------------------------


def _typed(config_class: type, **values: Any) -> Any:
    """Return options as a typed configuration; a wrong value is a ConfigError that names it."""
    from mss.core.registry import make_config

    return make_config(config_class, values, "presence")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command and its arguments, which may stand in any order."""
    first = argparse.ArgumentParser(
        prog="python -m tools.presence",
        description="Find where a stem is silent in recordings without stems.",
        epilog="python -m tools.presence COMMAND --help tells what a command takes",
    )
    first.add_argument("command", choices=tuple(_COMMANDS))
    first.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    chosen = first.parse_args(argv)
    run, add_arguments = _COMMANDS[chosen.command]
    parser = argparse.ArgumentParser(
        prog=f"python -m tools.presence {chosen.command}", description=run.__doc__
    )
    add_arguments(parser)
    args = parser.parse_intermixed_args(chosen.arguments)
    args.run = run
    return args


def _add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help=f"of the configuration, e.g. {example}",
    )


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--out", type=Path, required=True, metavar="FILE.safetensors", help="the net")
    add("--segment", type=float, default=5.0, metavar="S", help="seconds it hears (%(default)g)")
    add("--steps", type=int, default=1000, metavar="N", help="updates at most (%(default)s)")
    add("--batch-size", type=int, default=8, metavar="N", help="excerpts an update (%(default)s)")
    add(
        "--silence",
        type=float,
        default=-40.0,
        metavar="DB",
        help="level relative to the mixture below which a stem is silent (%(default)g)",
    )
    add("--precision", type=float, default=0.95, help="of what is called silent (%(default)g)")
    add(
        "--confidence",
        type=float,
        default=0.95,
        help="that the precision is as high, by the excerpts of the valid split (%(default)g)",
    )
    add("--excerpts", type=int, default=512, metavar="N", help="of the valid split (%(default)s)")
    add(
        "--left-out",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of the stems of those excerpts that are left out; 0: songs as they are (%(default)g)",
    )
    _add_overrides(parser, "dset=folder dset.root=PATH seed=1 misc.workers=4")


def _test_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--net", type=Path, required=True, metavar="FILE", help="of `train`")
    add("--excerpts", type=int, default=512, metavar="N", help="of the songs (%(default)s)")
    add(
        "--left-out",
        type=float,
        metavar="SHARE",
        help="of the stems that are left out (default: as for the thresholds)",
    )
    _add_overrides(parser, "dset=folder dset.root=PATH test.split=valid")


def _find_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--net", type=Path, required=True, metavar="FILE", help="of `train`")
    add(
        "--in",
        dest="recordings",
        type=Path,
        required=True,
        metavar="ROOT",
        help="folder of recordings: ROOT/NAME/mixture.wav (or .flac)",
    )
    add("--stems", nargs="+", default=(), metavar="STEM", help="only these (default: all)")
    add("--device", default="auto", help="cpu, cuda, mps or auto")


_Arguments = Callable[[argparse.ArgumentParser], None]
_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], str], _Arguments]] = {
    "train": (train, _train_arguments),
    "test": (score, _test_arguments),
    "find": (find, _find_arguments),
}


if __name__ == "__main__":
    sys.exit(main())
