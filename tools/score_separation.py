"""Judge a separation without references: ``python -m tools.score_separation SONG -n NAME``.

Scores are hints until `python -m tools.validate_score` has shown, on labelled songs, that they are
more: see mss.distill.quality.scores for what each one is.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mss.core.errors import StemgridError
from tools.quality import (
    add_model_options,
    add_score_options,
    quality_config,
    same_architecture_note,
)
from tools.quality_song import (
    OpenedSong,
    ScoredRow,
    given_stems,
    open_song,
    scored_row,
    segment_scorer,
)

if TYPE_CHECKING:
    from mss.distill.quality.config import QualityConfig
    from mss.distill.quality.recording import Recording
    from mss.distill.quality.scores import Evidence
    from mss.report.tables import Table

SCHEMA = 1
NOTE = (
    "Higher is better but for leakage and envelopes; a dash: not defined. None of these is proof:\n"
    "python -m tools.validate_score tells what they are worth, for a model and a kind of music."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Score one separation, print a table, write JSON; return the exit status."""
    args = _parser().parse_args(argv)
    try:
        options = Options(
            config=quality_config(args),
            out=args.out or Path(f"{_song_name(args.song)}.quality.json"),
            repo=args.repo,
            name=args.name,
            second=args.second,
            estimates=args.estimates,
            regressor=args.regressor,
            partial=args.partial,
            device=args.device,
            plugins=args.plugins,
        )
        print(score_file(args.song, options))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"score_separation: {error}", file=sys.stderr)
        return 1
    return 0


@dataclass(frozen=True)
class Options:
    """How a song is scored.

    Attributes:
        config: of the scores.
        out: JSON file.
        repo: folder of released models; None: mss.release.repo.default_repo_root().
        name: of the model; None: the repo's default.
        second: name of a model of another architecture.
        estimates: folder of the separated stems to be judged; None: the model makes them.
        regressor: of tools.validate_score, which expects an SDR.
        partial: the model's sources are not all that there is in a mixture.
        device: as `misc.device`.
        plugins: let an installed plug-in give an architecture.
    """

    config: QualityConfig
    out: Path
    repo: Path | None = None
    name: str | None = None
    second: str | None = None
    estimates: Path | None = None
    regressor: Path | None = None
    partial: bool = False
    device: str = "auto"
    plugins: bool = False


def score_file(song: Path, options: Options) -> str:
    """Score the separation of one song, write the scores, return them as text.

    Raises:
        DataError, ConfigError: the song, the stems, a model or an option is not what it should be.
    """
    # Here, not above: --help needs no torch.
    from mss.api.device import choose_device
    from mss.core.files import check_file_place, write_json_atomic
    from mss.distill.quality.regressor import RidgeRegressor
    from mss.distill.quality.scorer import named, score_segments, total
    from mss.distill.quality.scores import SCORES
    from mss.distill.quality.store import plain_values
    from mss.release.repo import Repo
    from mss.report.tables import render_text

    check_file_place(options.out, "Give another -o.")
    regressor = None if options.regressor is None else RidgeRegressor.load(options.regressor)
    device = choose_device(options.device)
    repo = Repo(options.repo)
    release = repo.load(options.name, device, options.plugins)
    second = None
    if options.second is not None:
        second = repo.load(options.second, device, options.plugins)
    with open_song(song) as opened:
        scorer = segment_scorer(opened, release, second, options.config, options.partial)
        rows: list[ScoredRow] = []
        evidence: list[Evidence] = []
        with _estimates(options.estimates, scorer.sources, opened) as given:
            for segment in score_segments(scorer, opened.recording(), given):
                evidence.append(segment.evidence)
                place = segment.start / opened.samplerate, segment.frames / opened.samplerate
                rows.append(scored_row(*place, segment.scores, regressor))
    seconds = opened.length / opened.samplerate
    whole = scored_row(0.0, seconds, named(total(evidence), scorer.sources), regressor)
    notes = () if second is None else same_architecture_note(release, second)
    content = {
        "schema": SCHEMA,
        "file": song.name,
        "samplerate": opened.samplerate,
        "model": release.name,
        "second": None if second is None else second.name,
        "estimates": "given" if options.estimates is not None else "the model's, of each segment",
        "config": asdict(options.config),
        "definitions": {name: asdict(SCORES[name]) for name in scorer.names},
        "notes": list(notes),
        "whole": asdict(whole),
        "segments": [asdict(row) for row in rows],
    }
    write_json_atomic(options.out, plain_values(content))
    title = f"{song.name} by {release.name}"
    tables = [
        render_text(score_table([whole], f"{title}: the whole recording")),
        render_text(score_table(rows, f"{title}: each segment")),
    ]
    return "\n\n".join([*tables, *notes, NOTE, f"Scores: {options.out}"])


def _song_name(file: Path) -> str:
    """Return what a song is called: SONG/mixture.wav is SONG, as in data sets."""
    return file.absolute().parent.name if file.stem == "mixture" else file.stem


def _estimates(
    folder: Path | None, sources: Sequence[str], song: OpenedSong
) -> AbstractContextManager[Recording | None]:
    """Give the stems to be judged, if a folder names some."""
    return nullcontext() if folder is None else given_stems(folder, sources, song, "--estimates")


def score_table(rows: Sequence[ScoredRow], title: str) -> Table:
    """Return a line for each source of each row."""
    from mss.distill.quality.scores import SCORES
    from mss.report.tables import Cell, Column, Table

    names = list(rows[0].scores)
    heads = [f"{name} [{SCORES[name].unit}]" if SCORES[name].unit else name for name in names]
    columns = [Column("start", ".1f"), Column("source", left=True)]
    columns += [Column(head, ".2f") for head in heads]
    if rows[0].sdr is not None:
        columns += [Column("expected SDR [dB]", ".2f"), Column("weight", ".2f")]
    lines: list[tuple[Cell, ...]] = []
    for row in rows:
        for source in row.scores[names[0]]:
            values = [row.scores[name][source] for name in names]
            if row.sdr is not None and row.weight is not None:
                values += [row.sdr[source], row.weight[source]]
            shown = (None if math.isnan(value) else value for value in values)
            lines.append((row.start, source, *shown))
    return Table(tuple(columns), tuple(lines), title)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.score_separation",
        description="Judge the separation of a song without references, segment by segment.",
    )
    parser.add_argument("song", type=Path, metavar="SONG", help="any audio file")
    add_model_options(parser)
    parser.add_argument(
        "--estimates",
        type=Path,
        metavar="DIR",
        help="judge the stems DIR/SOURCE.wav (or .flac) instead of the model's own; the model"
        " still separates what the scores ask for",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="the sources are not all that a song holds, so they need not add up to it",
    )
    parser.add_argument(
        "--regressor",
        type=Path,
        metavar="ridge.json",
        help="of tools.validate_score: adds the SDR that it expects, and the weight of a"
        " pseudo-label",
    )
    add_score_options(parser)
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="JSON (default: SONG.quality.json, here)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
