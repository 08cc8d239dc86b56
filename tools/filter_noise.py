"""Find swapped stems and bleed in a data set by what separators make of each stem.

    python -m tools.filter_noise --in ROOT --out filtered.csv -n NAME
    python -m tools.filter_noise --in ROOT --out filtered.csv --folds NAME0 NAME1 NAME2

Every stem of every training song is disguised (half an octave up, twice as fast: no model knows it
then), separated alone, and kept if its own source comes out louder than all else by a margin. Train
on what is clean by dset=labelnoise dset.root=ROOT dset.manifest=filtered.csv dset.name=...

With --folds model i judges the songs of fold i; train it with dset=labelnoise dset.folds=3
dset.fold=i. It has not heard them, so they need no disguise (--semitones 0 --tempo 1), in which a
model of few songs is a worse judge. The published margin is a strong model's; give --keep for
another. All that was measured lies beside the manifest: a call that was ended goes on with the
next song, and one with another margin has nothing left to measure.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mss.core.errors import ConfigError, StemgridError

if TYPE_CHECKING:
    import torch

    from mss.data.tracks import TrackSet
    from mss.distill.filter_scores import Detection
    from mss.distill.filtering import Judges, JudgeSource
    from mss.distill.stem_energies import StemJudge
    from mss.distill.verdict import Criterion, Verdicts
    from mss.release.repo import Repo


def main(argv: Sequence[str] | None = None) -> int:
    """Filter a data set, print what was found, return the exit status."""
    args = _parser().parse_args(argv)
    try:
        print(_run(args))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"filter_noise: {error}", file=sys.stderr)
        return 1
    return 0


@dataclass(frozen=True)
class Models:
    """Which released models judge, and how they are run.

    Attributes:
        repo: folder of released models; None: mss.release.repo.default_repo_root().
        names: one, or one for each fold; (None,): the repo's default.
        folds: whether they are of folds.
        fold_seed: of the division of the songs.
        device: cpu, cuda, cuda:1, mps or auto.
        batch_size: chunks separated together.
        plugins: let an installed plug-in give a model's architecture.
    """

    repo: Path | None = None
    names: Sequence[str | None] = (None,)
    folds: bool = False
    fold_seed: int = 0
    device: str = "auto"
    batch_size: int = 1
    plugins: bool = False


def _run(args: argparse.Namespace) -> str:
    # Here, not above: --help needs no torch.
    from mss.core.files import check_file_place, write_json_atomic
    from mss.data.noise_manifest import write_manifest
    from mss.data.noise_truth import read_truth
    from mss.distill.disguise import PitchTempo
    from mss.distill.filter_report import report_json
    from mss.distill.filter_scores import score_filter
    from mss.distill.filtering import Measuring, measure_songs
    from mss.distill.verdict import Criterion, judge_songs

    if args.out.suffix.lower() != ".csv":
        raise ConfigError(f"--out: {args.out} is no name of a manifest; give one that ends in .csv")
    check_file_place(args.out, "Give another --out.")
    criterion = Criterion(args.criterion, args.margin, args.keep)
    measuring = Measuring(PitchTempo(args.semitones, args.tempo), args.window)
    truth = read_truth(args.truth) if args.truth else None
    tracks = _songs(args.root, args.stems)
    names = args.folds or [args.name]
    models = Models(
        args.repo,
        names,
        bool(args.folds),
        args.fold_seed,
        args.device,
        args.batch_size,
        args.plugins,
    )
    judges = make_judges(models, tracks)
    songs = measure_songs(
        tracks.tracks, judges, measuring, args.out.with_suffix(".songs"), progress=True
    )
    verdicts = judge_songs(songs, criterion, measuring.silence_db)
    scores = score_filter(verdicts, truth) if truth else None
    settings = {
        "models": [source.name for source in judges.sources],
        "folds": asdict(judges.folds) if judges.folds else None,
        "criterion": asdict(criterion),
        "measuring": asdict(measuring),
        "round": args.round,
        "fingerprint": tracks.fingerprint,
    }
    write_json_atomic(args.out.with_suffix(".json"), report_json(settings, songs, verdicts, scores))
    write_manifest(args.out, verdicts.labels())  # last: where it is, all is
    told = [_verdict_table(verdicts, tracks, criterion)]
    told += [_score_table(scores)] if scores else []
    return "\n\n".join([*told, f"Manifest: {args.out}"])


def _songs(root: Path, stems: Sequence[str]) -> "TrackSet":
    """Return all songs in the training folder."""
    from mss.data.folder import FolderDataset

    config = FolderDataset.Config(
        root=str(root), stems=tuple(stems), samplerate=None, channels=None
    )
    return FolderDataset(config, root.resolve().name).every_song()


def make_judges(models: Models, tracks: "TrackSet") -> "Judges":
    """Return who judges which song.

    Raises:
        DataError: there is no such model.
        ConfigError: with folds, as many models as folds are not given.
    """
    from mss.api.device import choose_device
    from mss.data.folds import Folds
    from mss.distill.filtering import Judges
    from mss.release.repo import Repo

    if models.folds and len(models.names) < 2:
        raise ConfigError("--folds: one model is no division into folds; give -n NAME, or more")
    repo, device = Repo(models.repo), choose_device(models.device)
    sources = [_judge_source(repo, name, models, device, tracks) for name in models.names]
    return Judges(sources, Folds(len(sources), models.fold_seed) if models.folds else None)


def _judge_source(
    repo: "Repo", name: str | None, models: Models, device: "torch.device", tracks: "TrackSet"
) -> "JudgeSource":
    from mss.distill.filtering import JudgeSource
    from mss.release.repo import BagEntry

    entry = repo.resolve(name)
    members = entry.recipe.members if isinstance(entry, BagEntry) else (entry.name,)
    trained_on: frozenset[str] = frozenset()
    for member in members:
        found = repo.resolve(member)
        assert not isinstance(found, BagEntry), "a bag's members are models"
        train = repo.header(found).provenance.get("data", {}).get("train", {})
        trained_on |= frozenset(map(str, train.get("tracks", ())))
    load = partial(load_judge, repo, entry.name, tracks, device, models.batch_size, models.plugins)
    return JudgeSource(entry.name, trained_on, load)


def load_judge(
    repo: "Repo",
    name: str,
    tracks: "TrackSet",
    device: "torch.device",
    batch_size: int = 1,
    plugins: bool = False,
) -> "StemJudge":
    """Return a released model, or bag, as the judge of stems at the songs' sample rate."""
    from mss.distill.release_digest import release_digest
    from mss.distill.stem_energies import StemJudge
    from mss.eval.separation import recording_separator
    from mss.infer.bag import bag_chunk_fn

    release = repo.load(name, device, plugins)
    separate = recording_separator(
        bag_chunk_fn(release.members, release.weights),
        release.spec,
        release.inference,
        tracks.samplerate,
        batch_size=batch_size,
        device=device,
    )
    return StemJudge(release.name, release_digest(release), release.spec.sources, separate)


def _verdict_table(verdicts: "Verdicts", tracks: "TrackSet", criterion: "Criterion") -> str:
    import statistics

    from mss.report.tables import Column, Table, render_text

    rows = []
    for stem in tracks.stems:
        found = [of_song[stem] for of_song in verdicts.stems.values()]
        margins = [verdict.margin_db for verdict in found if verdict.margin_db is not None]
        rows.append(
            (
                stem,
                len(margins),
                statistics.median(margins) if margins else None,
                verdicts.thresholds.get(stem),
                sum(verdict.kept is False for verdict in found),
                sum(verdict.kept is None for verdict in found),
            )
        )
    clean = sum(verdicts.is_clean(song) for song in verdicts.stems)
    return render_text(
        Table(
            columns=(
                Column("stem", left=True),
                Column("judged"),
                Column("median margin [dB]", ".1f"),
                Column("kept above [dB]", ".1f"),
                Column("thrown out"),
                Column("silent"),
            ),
            rows=tuple(rows),
            title=(
                f"{clean} of {len(verdicts.stems)} songs of {tracks.name} are clean"
                f" ({criterion.noise})"
            ),
        )
    )


def _score_table(scores: "Mapping[str, Detection]") -> str:
    from mss.report.tables import Column, Table, render_text

    return render_text(
        Table(
            columns=(
                Column("", left=True),
                *(Column(name) for name in ("judged", "noisy", "thrown out", "rightly")),
                *(Column(name, ".3f") for name in ("AUC", "precision", "recall")),
            ),
            rows=tuple(
                (name, d.judged, d.noisy, d.flagged, d.found, d.auc, d.precision, d.recall)
                for name, d in scores.items()
            ),
            title="Against what was planted",
            notes=("stems: by margins relative to the median of the stems of the same name",),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.filter_noise",
        description="Find swapped stems and bleed in the training songs of a data set. Called"
        " again, it goes on with the next song.",
    )
    add = parser.add_argument
    add("--in", dest="root", type=Path, required=True, metavar="ROOT", help="as dset.root")
    add("--out", type=Path, required=True, metavar="CSV", help="the manifest; JSON lies beside it")
    add("--stems", nargs="+", default=(), metavar="STEM", help="to judge (default: all)")
    judges = parser.add_mutually_exclusive_group()
    judges.add_argument(
        "-n", "--name", help="the model that judges (default: the default of --repo)"
    )
    judges.add_argument(
        "--folds", nargs="+", metavar="NAME", help="models, each of which left out its own fold"
    )
    add("--fold-seed", type=int, default=0, metavar="N", help="dset.fold_seed of their training")
    add("--repo", type=Path, help="folder of released models (default: $STEMGRID_REPO, ...)")
    add(
        "--criterion",
        choices=("swaps", "bleed"),
        default="swaps",
        help="a stem's own output has to exceed the loudest other one (swaps), or what it leaves"
        " of the stem (bleed) (default: %(default)s)",
    )
    add("--margin", type=float, metavar="DB", help="by more than this (default: 20, of bleed 10)")
    add("--keep", type=float, metavar="SHARE", help="of the songs to call clean, instead")
    add("--semitones", type=float, default=6.0, help="of the disguise (default: %(default)s)")
    add("--tempo", type=float, default=2.0, help="of the disguise (default: %(default)s)")
    add("--window", type=float, default=60.0, metavar="S", help="seconds separated at once")
    add("--truth", type=Path, metavar="JSON", help="of tools.plant_noise: print AUC and the like")
    add(
        "--round",
        type=int,
        choices=(1, 2),
        default=1,
        help="of filter and training, for the record; a third would keep what models agree on",
    )
    add("--device", default="auto", help="(default: %(default)s)")
    add("--batch-size", type=int, default=1, help="chunks separated together")
    add("--plugins", action="store_true", help="let an installed plug-in give an architecture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
