"""Label songs without stems by a released model: ``python -m tools.pseudo_label``.

    python -m tools.pseudo_label --teacher NAME --in MIXTURES --out DIR

Each song becomes DIR/train/SONG/{stem}.flac, which add up to it, and labels.json: scores of every
stem in every segment, and a weight. labels.csv lists those of --in. A training takes the folder by
``distill=pseudo_label distill.songs=NAME distill.root=DIR``. Songs that are done are passed over:
the same command goes on where it was stopped. A song is made again where its recording, its
references, or the options are others than it was made with; one that can't be stays as it was.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mss.core.errors import ConfigError, DataError, StemgridError
from tools.pseudo_label_song import Options, SongLabeller
from tools.quality import add_score_options, quality_config

TABLE = "labels.csv"


@dataclass
class Survey:
    """What earlier calls left in a folder of labelled songs.

    Attributes:
        done: names of the songs that are as they would be made now.
        outdated: why others have to be made again, by name.
        faults: what is wrong with the rest, by name.
    """

    done: set[str] = field(default_factory=set)
    outdated: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """Return in a line how many songs are made again, and why."""
        reasons = Counter(" and ".join(why) for why in self.outdated.values())
        counts = ", ".join(f"{why} ({count})" for why, count in reasons.items())
        many = len(self.outdated)
        return f"{many} {'song is' if many == 1 else 'songs are'} made again: {counts}"


def main(argv: Sequence[str] | None = None) -> int:
    """Label every song; return the exit status."""
    args = _parser().parse_args(argv)
    try:
        from mss.api.device import choose_device
        from mss.core.audio_formats import parse_format
        from mss.core.files import check_folder_place
        from mss.data.scan import AUDIO_SUFFIXES
        from mss.distill.quality.regressor import RidgeRegressor
        from mss.release.repo import Repo

        check_folder_place(args.out, "Give another --out.")
        form = parse_format(args.format)
        if form.extension not in AUDIO_SUFFIXES:
            raise ConfigError(f"--format: a training reads wav and flac, not {args.format}")
        config = quality_config(args)
        release = Repo(args.repo).load(args.teacher, choose_device(args.device), args.plugins)
        regressor = None if args.regressor is None else RidgeRegressor.load(args.regressor)
        if regressor is None:
            print(
                "pseudo_label: without --regressor every label weighs 1: select by a score "
                "(distill.select.by=agreement), or make one by python -m tools.validate_score",
                file=sys.stderr,
            )
        songs = named_songs(args.mixtures)
        labeller = SongLabeller(
            release, Options(config, args.out, regressor, args.references, form)
        )
        found = survey(songs, labeller)
        if found.outdated:
            print(f"pseudo_label: {found.told()}", file=sys.stderr)
        failed = label_songs(songs, labeller, found)
    except (StemgridError, OSError) as error:
        print(f"pseudo_label: {error}", file=sys.stderr)
        return 1
    for song, fault in failed.items():
        print(f"pseudo_label: {song}: {fault}", file=sys.stderr)
    done = len(songs.keys() - failed.keys())
    print(f"{done} of {len(songs)} songs are labelled in {args.out}")
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


def survey(songs: Mapping[str, Path], labeller: SongLabeller) -> Survey:
    """Hold what earlier calls left against what would be made now; change nothing.

    Raises:
        ConfigError: another model labelled a song that lies there.
    """
    from tqdm import tqdm

    from mss.distill.pseudo import read_facts

    found = Survey()
    for name in tqdm(labeller.finished(), desc="checking", disable=None):
        labels = labeller.labels(name)
        try:
            facts = read_facts(labels)
            labeller.check_teacher(name, facts)
            if name not in songs:
                raise DataError(
                    f"its recording is not in --in any more, and a training would still take what"
                    f" {labels.parent} holds; put the recording back, or remove that folder"
                )
        except DataError as error:
            found.faults[name] = str(error)
            continue
        try:
            if why := labeller.changes(name, songs[name], facts):
                found.outdated[name] = why
            else:
                found.done.add(name)
        except DataError as error:
            found.faults[name] = _with_remains(error, labels)
    return found


def label_songs(songs: Mapping[str, Path], labeller: SongLabeller, found: Survey) -> dict[str, str]:
    """Label songs, those that are done left out, and list the labels in a table.

    Returns:
        Why a song could not be labelled, by its name. The others are done.
    """
    from tqdm import tqdm

    from mss.distill.pseudo import read_labels

    failed = dict(found.faults)
    scores: dict[str, None] = {}
    for name, path in tqdm(songs.items(), desc="labelling", disable=None):
        if name in failed:
            continue
        labels = labeller.labels(name)
        try:
            if name not in found.done:
                labeller.label(name, path)
            scores |= dict.fromkeys(score for row in read_labels(labels) for score in row.scores)
        except DataError as error:
            failed[name] = _with_remains(error, labels)
    done = {name: labeller.labels(name) for name in songs if name not in failed}
    write_table(labeller.options.out / TABLE, done, list(scores))
    return failed


def write_table(path: Path, songs: Mapping[str, Path], scores: Sequence[str]) -> None:
    """Write all labels as CSV, a line for each stem of each segment, song by song.

    Args:
        path: of the table.
        songs: the file of each song's labels, of which one is in memory at a time.
        scores: names of the columns.
    """
    from mss.core.files import atomic_path
    from mss.distill.pseudo import read_labels

    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["song", "stem", "start", "frames", "weight", *scores])
        for song, labels in songs.items():
            for row in read_labels(labels):
                values = [row.scores.get(name, math.nan) for name in scores]
                shown = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
                writer.writerow(
                    [song, row.stem, row.start, row.frames, f"{row.weight:.4f}", *shown]
                )


def _with_remains(fault: DataError, labels: Path) -> str:
    """Return why a song could not be labelled, and what is there of it all the same."""
    if not labels.exists():
        return str(fault)
    return (
        f"{fault} ({labels.parent} still holds the labels of an earlier call; remove that folder "
        "to leave the song out of a training)"
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
