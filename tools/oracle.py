"""Score oracles, beside models: ``python -m tools.oracle [NAME ...] [overrides]``."""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mss.core.errors import ConfigError, StemgridError

if TYPE_CHECKING:
    from mss.eval.results import ResultsFolder, StoredResults
    from mss.metrics.base import Measure
    from mss.report.tables import Table

# SiSEC 2018's oracles at its window of 2048 samples, the better ones at another, and what a mask
# gains that changes phases.
DEFAULT = (
    *("mixture", "ibm1", "ibm2", "irm1", "irm2", "mwf"),
    *("irm2@4096", "mwf@4096", "cirm-bounded", "cirm"),
)

NOTE = (
    "An oracle knows the true sources. It bounds the methods that its label names, at its window,"
    " and no other:\ntoday's models beat the magnitude masks."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate oracles, print their scores beside those of models, return the exit status."""
    args = _parser().parse_intermixed_args(argv)
    names = [argument for argument in args.arguments if "=" not in argument]
    overrides = [argument for argument in args.arguments if "=" in argument]
    try:
        tables = evaluate_oracles(names or DEFAULT, args.out, overrides, args.beside, args.anew)
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"oracle: {error}", file=sys.stderr)
        return 1
    if tables is not None:
        print(tables)
    return 0


def evaluate_oracles(
    names: Sequence[str],
    out: Path,
    overrides: Sequence[str] = (),
    beside: Sequence[Path] = (),
    anew: bool = False,
) -> str | None:
    """Evaluate oracles as test_pretrained evaluates models; return one table a measure.

    Args:
        names: as mss.eval.oracles.make_oracle takes them.
        out: results go to ``out/oracle-NAME/DATASET-SPLIT/METRICS``.
        overrides: of the configuration's groups `dset`, `targets`, `test` and `misc`.
        beside: folders of results to show in the same tables, see read_beside.
        anew: score songs again that have a result.

    Returns:
        The tables; None on a rank other than the first.

    Raises:
        ConfigError: a wrong name or key; results of another protocol.
        DataError: the data, or a folder of results, can't be read.
    """
    # Here, not above: --help needs neither torch nor hydra.
    from mss.eval.caveats import remark_notes, shared_notes
    from mss.eval.oracles import make_oracles
    from mss.eval.protocol import System
    from mss.eval.results import read_results
    from mss.eval.table import plural
    from mss.report.tables import render_text
    from tools.evaluation import shared_evaluation

    with shared_evaluation(overrides, separates=False) as evaluation:
        tracks, targets = evaluation.tracks, evaluation.targets
        # where the sources are not all stems, the others are a part of the mixture, too
        oracles = make_oracles(names, rest=set(targets.all_stems) != set(tracks.stems))
        folders = []
        for oracle in oracles:
            system = System(oracle.system, label=oracle.label)
            folder, _ = evaluation.run(system, oracle, targets, out, anew)
            folders.append(folder)
        if not evaluation.is_main:
            return None
        shown = [read_beside(path, folders[0]) for path in beside]
        shown += [read_results(folder.path) for folder in folders]
        tables = [
            render_text(score_table(measure, shown, targets.sources))
            for measure in folders[0].protocol.measures
        ]
        head = f"Oracles on {plural(len(tracks), 'song')} of {tracks.name} ({tracks.split})"
        remarks = shared_notes({stored.system: list(remark_notes(stored)) for stored in shown})
        tables += ["\n".join(remarks)] if remarks else []
        where = f"Results: {out / 'oracle-*' / Path(*folders[0].path.parts[-2:])}"
        return "\n\n".join([head, *tables, NOTE, where])


def read_beside(path: Path, like: "ResultsFolder") -> "StoredResults":
    """Read results to be shown beside those in the folder `like`.

    Args:
        path: a folder of results, or that of a system, which is then looked into for those on the
            same data set with the same metrics.
        like: with its protocol; the scores of each measure that both have are to be of one.

    Raises:
        DataError: there are no results.
        ConfigError: no measure is shared, or one has another protocol.
    """
    from mss.eval.results import SUMMARY, read_results

    inside = path.joinpath(*like.path.parts[-2:])
    stored = read_results(inside if (inside / SUMMARY).exists() else path)
    ids = {measure.name: like.protocol.id(measure) for measure in like.protocol.measures}
    shared = ids.keys() & stored.ids.keys()
    if not shared:
        raise ConfigError(
            f"--beside {stored.path}: has {', '.join(stored.ids)}, and here is {', '.join(ids)};"
            " give the same test=..."
        )
    for name in sorted(shared):
        if stored.ids[name] != ids[name]:
            raise ConfigError(
                f"--beside {stored.path}: {name} is {stored.ids[name]} there and {ids[name]} here:"
                " other songs, other targets or another definition; give the same dset, targets"
                " and test"
            )
    return stored


def score_table(
    measure: "Measure", systems: Sequence["StoredResults"], sources: Sequence[str]
) -> "Table":
    """Return the scores of one measure: a row a system, a column a source, and what it is."""
    from mss.eval.caveats import missing_score_notes, shared_notes
    from mss.eval.summary import over_songs
    from mss.report.tables import Column, Table

    better = "higher" if measure.higher_is_better else "lower"
    known = [stored for stored in systems if measure.name in stored.ids]
    rows = []
    for stored in known:
        songs = [scores[measure.name] for scores in stored.tracks.values()]
        scores = [over_songs(measure, [song[source] for song in songs]) for source in sources]
        defined = [score for score in scores if score is not None]
        mean = statistics.fmean(defined) if defined else None
        rows.append((stored.system, *scores, mean, stored.label or ""))
    return Table(
        columns=(
            Column("system", left=True),
            *(Column(name, ".2f") for name in (*sources, "mean")),
            Column("label", left=True),
        ),
        rows=tuple(rows),
        title=(
            f"{measure.name} in {measure.unit}, {measure.over_tracks} over songs, {better} is"
            f" better ({known[0].ids[measure.name]})"
        ),
        notes=tuple(
            shared_notes(
                {stored.system: list(missing_score_notes(stored, measure.name)) for stored in known}
            )
        ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.oracle",
        description=(
            "Score what masks and filters reach that are computed from the true sources, with the"
            " evaluation of tools.test_pretrained."
        ),
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("results"), help="folder (default: %(default)s)"
    )
    parser.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="results/SYSTEM of test_pretrained to show in the same table; may be given again",
    )
    parser.add_argument(
        "--anew", action="store_true", help="score songs again that have a result already"
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="NAME | KEY=VALUE",
        help=(
            "names of oracles, with a window of samples where 2048 is not meant: mixture, ibm1,"
            " ibm2, irm1, irm2, mwf, cirm-bounded, cirm, irm2@4096 (default:"
            f" {' '.join(DEFAULT)}); and overrides of the configuration, e.g. dset=folder"
            " dset.root=PATH test=museval"
        ),
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
