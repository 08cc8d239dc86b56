"""Compare evaluations song by song: ``python -m tools.compare A B [...] [-o FOLDER]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mss.core.errors import StemgridError

FILE_NAME = "comparison"

_EPILOG = """\
RESULTS is a results folder, or the name of a system below --results. Seeds of one configuration are
listed with commas: `base1,base2,base3 new=new1,new2,new3` compares the two configurations, the mean
of the seeds in each song, and shows how much the seeds differ. Only scores of one protocol are
compared (data, targets, measure, aggregation). The intervals are those of other songs of the same
kind.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare results folders, print the tables, return the exit status."""
    args = _parser().parse_args(argv)
    try:
        print(compare_results(args.reference, args.others, args.results, args.out, args.measure))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0


def compare_results(
    reference: str,
    others: Sequence[str],
    root: Path,
    out: Path | None = None,
    measure: str | None = None,
) -> str:
    """Compare each of `others` with the reference; return the tables and what they say.

    Args:
        reference: ``[NAME=]RESULTS[,RESULTS...]``, see mss.eval.comparison.read_candidate.
        others: the same.
        root: folder of all systems' results.
        out: Markdown, CSV and plot are written there; None: nowhere.
        measure: the only measure to compare; None: all that both have.
    """
    # Here, not above: --help needs no numbers.
    from mss.core.files import write_text_atomic
    from mss.eval.candidates import read_candidate
    from mss.eval.comparison import compare
    from mss.report.plots import plot_paired
    from mss.report.tables import render_csv, render_markdown, render_text
    from tools.compare_tables import all_values, measure_panel, measure_table

    comparison = compare(
        read_candidate(reference, root), [read_candidate(other, root) for other in others], measure
    )
    tables = [measure_table(of_measure, comparison.reference) for of_measure in comparison.measures]
    notes = [*comparison.notes, *(f"not compared: {what}" for what in comparison.left_out)]
    blocks = [render_text(table) for table in tables]
    if notes:
        blocks.append("\n".join(notes))
    if out is not None:
        markdown = [render_markdown(table) for table in tables]
        markdown += ["\n".join(f"- {note}" for note in notes) + "\n"] if notes else []
        write_text_atomic(out / f"{FILE_NAME}.md", "\n".join(markdown))
        write_text_atomic(out / f"{FILE_NAME}.csv", render_csv(all_values(comparison)))
        panels = [measure_panel(of, comparison.reference) for of in comparison.measures]
        plot_paired(panels, out / f"{FILE_NAME}.png")
        blocks.append(f"Written: {out / FILE_NAME}.md, .csv and .png")
    return "\n\n".join(blocks)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare",
        description="Compare evaluations with a reference, song by song.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    form = "[NAME=]RESULTS[,RESULTS...]"
    parser.add_argument("reference", metavar="REFERENCE", help=form)
    parser.add_argument("others", metavar="OTHER", nargs="+", help=form)
    parser.add_argument(
        "-o", "--out", type=Path, help="folder for comparison.md, .csv and .png (default: none)"
    )
    parser.add_argument("--measure", help="the only measure to compare, as nsdr (default: all)")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="folder of all systems' results (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
