"""Label songs without stems by a released model: ``python -m tools.pseudo_label``.

    python -m tools.pseudo_label --teacher NAME --in MIXTURES --out DIR

Each song becomes DIR/train/SONG/{stem}.flac, which add up to it, and labels.json: scores of every
stem in every segment, and a weight. labels.csv lists them all. A training takes the folder by
``distill=pseudo_label distill.songs=NAME distill.root=DIR``. Songs that are done are passed over:
the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import io
import logging
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mss.core.errors import ConfigError, DataError, StemgridError
from tools.quality import add_score_options, quality_config
from tools.quality_song import given_stems, open_song, scored_row, segment_scorer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mss.distill.pseudo import Label
    from mss.distill.quality.config import QualityConfig
    from mss.distill.quality.recording import Recording
    from mss.distill.quality.regressor import RidgeRegressor
    from mss.infer.engine import Engine
    from mss.release.repo import Release

logger = logging.getLogger(__name__)

EXPECTED, TRUE = "sdr", "true_sdr"
"""Names of the score that a regressor expects, and of the one that references give."""

TRAIN = "train"
TABLE = "labels.csv"


@dataclass(frozen=True)
class Options:
    """How songs are labelled.

    Attributes:
        config: of the scores.
        out: folder of the labelled songs.
        regressor: of tools.validate_score: gives the expected SDR, and by it the weight.
        references: a folder with the true stems, SONG/STEM.wav, for experiments.
        format: of the stems.
    """

    config: QualityConfig
    out: Path
    regressor: RidgeRegressor | None
    references: Path | None
    format: str


def main(argv: Sequence[str] | None = None) -> int:
    """Label every song; return the exit status."""
    args = _parser().parse_args(argv)
    try:
        from mss.build import choose_device
        from mss.distill.quality.regressor import RidgeRegressor
        from mss.release.repo import Repo

        device = choose_device(args.device)
        release = Repo(args.repo).load(args.teacher, device, args.plugins)
        regressor = None if args.regressor is None else RidgeRegressor.load(args.regressor)
        if regressor is None:
            print(
                "pseudo_label: without --regressor every label weighs 1: select by a score "
                "(distill.select.by=agreement), or make one by python -m tools.validate_score",
                file=sys.stderr,
            )
        songs = named_songs(args.mixtures)
        options = Options(quality_config(args), args.out, regressor, args.references, args.format)
        failed = label_songs(songs, release, options)
    except (StemgridError, OSError) as error:
        print(f"pseudo_label: {error}", file=sys.stderr)
        return 1
    for song, fault in failed.items():
        print(f"pseudo_label: {song}: {fault}", file=sys.stderr)
    print(f"{len(songs) - len(failed)} of {len(songs)} songs are labelled in {args.out}")
    return 1 if failed else 0


def named_songs(folder: Path) -> dict[str, Path]:
    """Return the recordings in a folder by the names of their songs.

    FOLDER/NAME/mixture.wav (or of another format) is NAME's; any other file gives its own name.

    Raises:
        DataError: there are none, or two have one name.
    """
    from mss.api.inputs import find_songs
    from mss.data.tracks import MIXTURE

    if not folder.is_dir():
        raise DataError(f"--in: {folder}: there is no such folder")
    with_mixture = sorted(path for path in folder.glob(f"*/{MIXTURE}.*") if path.is_file())
    if with_mixture:
        songs = [(path.parent.name, path) for path in with_mixture]
    else:
        found = find_songs([folder])
        if found.faults:
            raise DataError(next(iter(found.faults.values())))
        songs = [(song.path.stem, song.path) for song in found.songs]
    doubled = [name for name, count in Counter(name for name, _ in songs).items() if count > 1]
    if doubled:
        raise DataError(f"--in: {folder}: two songs are called {doubled[0]!r}; rename one")
    return dict(songs)


def label_songs(songs: Mapping[str, Path], release: Release, options: Options) -> dict[str, str]:
    """Label songs, those that are done left out.

    Returns:
        Why a song could not be labelled, by its name. The others are done.
    """
    from tqdm import tqdm

    from mss.core.files import write_text_atomic
    from mss.distill.pseudo import LABELS, read_labels
    from mss.infer.bag import bag_chunk_fn
    from mss.infer.engine import ModelEngine
    from mss.infer.output_map import consistent

    engine = consistent(
        ModelEngine(bag_chunk_fn(release.members, release.weights), release.spec, release.inference)
    )
    failed: dict[str, str] = {}
    done: dict[str, list[Label]] = {}
    for name, path in tqdm(songs.items(), desc="labelling", disable=None):
        labels = options.out / TRAIN / name / LABELS
        try:
            if not labels.exists():
                text = label_song(path, name, engine, release, options)
                write_text_atomic(labels, text)  # last: with it the song is done
            done[name] = read_labels(labels)
            _check_teacher(labels, release.name)
        except DataError as error:
            failed[name] = str(error)
    write_text_atomic(options.out / TABLE, table(done))
    return failed


def label_song(path: Path, name: str, engine: Engine, release: Release, options: Options) -> str:
    """Separate a song into its folder; return the text of its labels.

    Raises:
        DataError: the recording, or a reference, is not what it should be.
    """
    from mss.core.files import file_sha256
    from mss.distill.pseudo import write_labels
    from mss.infer.files import separate_file

    folder = options.out / TRAIN / name
    separated = separate_file(engine, path, options.out / TRAIN, options.format, name=name)
    clipped = {stem: count for stem, count in separated.clipped.items() if count}
    if clipped:
        logger.warning(
            "%s: samples beyond full scale were cut off (%s); --format wav32 keeps them",
            name,
            ", ".join(f"{stem}: {count}" for stem, count in clipped.items()),
        )
    labels = list(_labels(path, folder, release, options, name))
    return write_labels(
        labels,
        {
            "song": name,
            "sha256": file_sha256(path),
            "teacher": release.name,
            "samplerate": separated.samplerate,
        },
    )


def _labels(
    path: Path, folder: Path, release: Release, options: Options, name: str
) -> Iterator[Label]:
    """Yield a label for each stem of each segment."""
    from mss.distill.pseudo import Label
    from mss.distill.quality.scorer import score_segments

    sources = release.spec.sources
    with open_song(path) as song, given_stems(folder, sources, song, "the stems") as stems:
        scorer = segment_scorer(song, release, None, options.config)
        reference: AbstractContextManager[Recording | None] = nullcontext()
        if options.references is not None:
            reference = given_stems(options.references / name, sources, song, "--references")
        with reference as truth:
            for segment in score_segments(scorer, song.recording(), stems):
                row = scored_row(
                    segment.start / song.samplerate,
                    segment.frames / song.samplerate,
                    segment.scores,
                    options.regressor,
                )
                true = None
                if truth is not None:
                    true = true_sdr(truth.window(segment.start, segment.frames), segment.estimates)
                for place, source in enumerate(sources):
                    scores = {score: values[source] for score, values in row.scores.items()}
                    if row.sdr is not None:
                        scores[EXPECTED] = row.sdr[source]
                    if true is not None:
                        scores[TRUE] = true[place]
                    weight = 1.0 if row.weight is None else row.weight[source]
                    yield Label(segment.start, segment.frames, source, weight, scores)


def true_sdr(references: Any, estimates: Any) -> list[float]:
    """Return the nSDR (dB) of each source of a segment [S, C, T], NaN where it is silent."""
    from mss.metrics.energy import NSDR

    scores: list[float] = NSDR()(references, estimates, 1).tolist()
    return scores


def table(labels: Mapping[str, Sequence[Label]]) -> str:
    """Return all labels as CSV: a line for each stem of each segment of each song."""
    names = list(dict.fromkeys(n for rows in labels.values() for row in rows for n in row.scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["song", "stem", "start", "frames", "weight", *names])
    for song, rows in labels.items():
        for row in rows:
            values = [row.scores.get(name, math.nan) for name in names]
            shown = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
            writer.writerow([song, row.stem, row.start, row.frames, f"{row.weight:.4f}", *shown])
    return text.getvalue()


def _check_teacher(path: Path, teacher: str) -> None:
    """Raise a ConfigError where a song was labelled by another model than the rest will be."""
    import json

    found = json.loads(path.read_text(encoding="utf-8")).get("teacher")
    if found != teacher:
        raise ConfigError(
            f"{path}: this song was labelled by {found}, not by {teacher}; give another --out, or "
            "remove the songs there"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.pseudo_label",
        description="Label songs without stems by a released model, with scores and weights.",
    )
    parser.add_argument(
        "--teacher", required=True, metavar="NAME", help="full name, signature or unique start"
    )
    parser.add_argument(
        "--repo",
        type=Path,
        help="folder of released models (default: $STEMGRID_REPO, ./release_models, the user's)",
    )
    parser.add_argument(
        "--in",
        dest="mixtures",
        type=Path,
        required=True,
        metavar="MIXTURES",
        help="folder of recordings: NAME/mixture.wav, or files of any name",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the songs")
    parser.add_argument(
        "--regressor",
        type=Path,
        metavar="ridge.json",
        help="of tools.validate_score: labels weigh by the SDR that it expects",
    )
    parser.add_argument(
        "--references",
        type=Path,
        metavar="ROOT",
        help="true stems, ROOT/SONG/STEM.wav: adds their SDR, for experiments",
    )
    parser.add_argument(
        "--format", default="flac", help="of the stems: flac, wav16, wav24, wav32 (default: flac)"
    )
    add_score_options(parser)
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto")
    parser.add_argument(
        "--plugins", action="store_true", help="let a plug-in give the model's architecture"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
