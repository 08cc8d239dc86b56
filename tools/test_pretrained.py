"""Score a released model, a bag or separated stems on a data set.

    python -m tools.test_pretrained -n NAME dset=musdb18hq test=museval
    python -m tools.test_pretrained --estimates separated dset=musdb18hq

Started again after a kill it goes on with the next song. Several processes share the songs: on
SLURM `sbatch --ntasks=2 slurm/evaluate.sh NAME`, on one machine
`torchrun --nproc-per-node=2 -m tools.test_pretrained -n NAME`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mss.core.errors import ConfigError, StemgridError

if TYPE_CHECKING:
    from torch import Tensor

    from mss.core.targets import TargetMap
    from mss.data.tracks import TrackSet
    from mss.eval.estimators import Song
    from mss.release.repo import Release


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate a released model, a bag or a folder of stems, print its scores."""
    args = _parser().parse_intermixed_args(argv)
    options = Options(args.out, args.overrides, args.anew)
    try:
        if args.estimates is None:
            table = evaluate_release(args.repo, args.name, options, args.record, args.plugins)
        else:
            _refuse_model_options(args)
            table = evaluate_stems(args.estimates, options)
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"test_pretrained: {error}", file=sys.stderr)
        return 1
    if table is not None:
        print(table)
    return 0


@dataclass(frozen=True)
class Options:
    """What all evaluations share.

    Attributes:
        out: results go to ``out/SYSTEM/DATASET-SPLIT/METRICS``.
        overrides: of the configuration's groups `dset`, `targets`, `test` and `misc`.
        anew: score songs again that have a result.
    """

    out: Path = Path("results")
    overrides: Sequence[str] = ()
    anew: bool = False


def evaluate_release(
    repo_root: Path | None,
    name: str | None,
    options: Options,
    record: bool = False,
    plugins: bool = False,
) -> str | None:
    """Evaluate the release `name`, write its results and return the table.

    Args:
        repo_root: folder of released models; None: mss.release.repo.default_repo_root().
        name: full name, signature or unique start; None: the repo's default.
        options: see Options.
        record: add the scores to the repo's index and the model's card.
        plugins: let an installed plug-in give the architecture.

    Returns:
        The table; None on a rank other than the first.
    """
    # Here, not above: --help needs neither torch nor hydra.
    from mss.eval.protocol import System
    from mss.eval.separation import recording_separator
    from mss.infer.bag import bag_chunk_fn
    from mss.infer.shifts import draw_shifts
    from mss.release.repo import BagEntry, Repo
    from tools.evaluation import shared_evaluation

    with shared_evaluation(options.overrides) as evaluation:
        repo = Repo(repo_root)
        entry = repo.resolve(name)
        if record and isinstance(entry, BagEntry):
            raise ConfigError("--record: a bag has no card to add scores to; leave it out")
        release = repo.load(name, evaluation.device, plugins)
        test, tracks = evaluation.test, evaluation.tracks
        targets = match_sources(evaluation.targets, release, tracks)
        wanted = [release.spec.sources.index(source) for source in targets.sources]
        chunk_fn = bag_chunk_fn(release.members, release.weights)

        def estimate(song: "Song") -> "Tensor":
            rate = release.spec.samplerate
            separate = recording_separator(
                chunk_fn,
                release.spec,
                release.inference,
                tracks.samplerate,
                test.batch_size,
                evaluation.device,
                draw_shifts(test.shifts, rate, test.seed, song.track.name),
            )
            return separate(song.mixture)[wanted]

        system = System(
            release.name,
            release.inference,
            test.batch_size,
            test.shifts,
            test.seed,
            device=evaluation.device.type,
            members=entry.recipe.members if isinstance(entry, BagEntry) else (),
            weights=release.weights,
        )
        folder, summary = evaluation.run(system, estimate, targets, options.out, options.anew)
        if not evaluation.is_main:
            return None
        if record:
            repo.add_scores(release.name, folder.index_scores(summary))
        return evaluation.table(folder, summary)


def evaluate_stems(root: Path, options: Options) -> str | None:
    """Evaluate stems that were separated already; see evaluate_release.

    Args:
        root: ``root/[SPLIT/]SONG/SOURCE.wav`` (or .flac).
        options: see Options.
    """
    from mss.eval.estimators import SeparatedStems
    from mss.eval.protocol import System
    from tools.evaluation import shared_evaluation

    with shared_evaluation(options.overrides, separates=False) as evaluation:
        tracks, targets = evaluation.tracks, evaluation.targets
        stems = SeparatedStems(root, tracks.split, tracks.tracks, targets.sources)
        rows = dict(zip(targets.sources, targets.stems, strict=True))
        there = replace(
            targets, sources=stems.sources, stems=tuple(rows[source] for source in stems.sources)
        )
        system = System(
            root.resolve().name,
            label="separated elsewhere",
            content=stems.content(tracks.tracks),
        )
        folder, summary = evaluation.run(system, stems, there, options.out, options.anew)
        if not evaluation.is_main:
            return None
        notes = [stems.left_out] if stems.left_out else []
        return "\n\n".join([evaluation.table(folder, summary), *notes])


def match_sources(targets: "TargetMap", release: "Release", tracks: "TrackSet") -> "TargetMap":
    """Return the rows of `targets` that the model gives, in the order of its sources.

    Targets that were chosen may be fewer than the model gives: its other sources are not scored.

    Raises:
        ConfigError: no row for a source of the model where nothing was chosen, or a chosen one
            that the model does not give; the message says which `targets` to give.
    """
    rows = dict(zip(targets.sources, targets.stems, strict=True))
    given = release.spec.sources
    chosen = targets.sources != tuple(tracks.stems)
    unknown = [source for source in targets.sources if source not in given]
    missing = [source for source in given if source not in rows]
    if missing and (unknown or not chosen):
        give = " ".join(f"'+targets.{source}=[STEM,...]'" for source in given)
        raise ConfigError(
            f"targets: {release.name} separates {', '.join(given)}, but nothing says"
            f" which stems of {tracks.name} ({', '.join(tracks.stems)}) make up"
            f" {' and '.join(missing)}; give targets=CHOICE (see conf/targets) or {give}"
        )
    sources = tuple(source for source in given if source in rows)
    return replace(targets, sources=sources, stems=tuple(rows[source] for source in sources))


def _refuse_model_options(args: argparse.Namespace) -> None:
    for option, given in (
        ("-n", args.name),
        ("--repo", args.repo),
        ("--record", args.record),
        ("--plugins", args.plugins),
    ):
        if given:
            raise ConfigError(f"{option}: speaks of a model; --estimates needs none. Leave one out")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.test_pretrained",
        description="Score a released model, a bag or separated stems on a data set; no training"
        " configuration is needed. Started again, it goes on with the next song.",
    )
    parser.add_argument(
        "--repo",
        type=Path,
        help="folder of released models (default: $STEMGRID_REPO, ./release_models, the user's)",
    )
    parser.add_argument(
        "-n", "--name", help="full name, signature or unique start (default: the repo's default)"
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("results"), help="folder (default: %(default)s)"
    )
    parser.add_argument(
        "--estimates",
        type=Path,
        metavar="DIR",
        help="score the stems in DIR/[SPLIT/]SONG/SOURCE.wav (or .flac) instead of a model",
    )
    parser.add_argument("--anew", action="store_true", help="score songs again that have a result")
    parser.add_argument(
        "--record", action="store_true", help="add the scores to the repo's index and model card"
    )
    parser.add_argument(
        "--plugins",
        action="store_true",
        help="let an installed plug-in give the model's architecture",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="of the configuration, e.g. dset=folder dset.root=PATH test=museval misc.device=cpu",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
