"""Check a data set before training on it: names each file and each fault.

    python -m tools.check_data PATH [--stems drums bass other vocals]

Exits with 1 where there are errors. See mss/data/check.py for what is looked at.
"""

import argparse
import sys
from pathlib import Path

from mss.core.errors import StemgridError
from mss.data.check import CheckReport, check_folder


def main(arguments: list[str] | None = None) -> int:
    """Run the check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tools.check_data", description=__doc__.split("\n")[0])
    parser.add_argument("root", type=Path, help="as dset.root: a folder with train/NAME/STEM.wav")
    parser.add_argument("--stems", nargs="+", default=(), help="default: those most tracks have")
    parser.add_argument("--mixture", default="mixture", help="the mixture's file, without ending")
    parser.add_argument("--samplerate", type=int, help="Hz; default: what most files have")
    parser.add_argument(
        "--tolerance",
        type=float,
        help="how far a mixture may be from the sum of its stems, 1 being full scale"
        " (default: one quantisation step of each file)",
    )
    options = parser.parse_args(arguments)
    try:
        report = check_folder(
            options.root.expanduser(),
            options.stems,
            options.mixture,
            options.samplerate,
            options.tolerance,
        )
    except StemgridError as error:
        print(error, file=sys.stderr)
        return 1
    print_report(report, options.root)
    return 1 if report.count("error") else 0


def print_report(report: CheckReport, root: Path) -> None:
    """Print a table of the faults and a summary."""
    rows = [
        (fault.severity.upper(), fault.track, fault.file.name, fault.kind, fault.message)
        for fault in report.faults
    ]
    widths = [max(len(row[column]) for row in rows) if rows else 0 for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[4]]))
    if rows:
        print()
    splits = ", ".join(f"{count} {split}" for split, count in report.tracks.items())
    print(f"{root}: {splits}; stems {', '.join(report.stems)}; {report.seconds / 60:.1f} minutes")
    if report.largest_deviation is not None:
        print(f"largest deviation of a mixture from its stems' sum: {report.largest_deviation:.2e}")
    print(
        f"{report.count('error')} errors, {report.count('warning')} warnings,"
        f" {report.count('note')} notes"
    )


if __name__ == "__main__":
    sys.exit(main())
