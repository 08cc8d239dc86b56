"""`stemgrid models`: what a repo of released models holds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

SUMMARY = "list the released models at hand"

_COLUMNS = ("", "NAME", "ARCH", "SOURCES", "RATE", "PARAMETERS", "SCORES (MEAN)")
_ALIASES = "ANSWERS TO"

_KNOWN_COLUMNS = ("NAME", "ARCH", "SOURCES", "SIZE", "LICENCE", "PUBLISHED SCORE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    add_repo_argument(parser)
    parser.add_argument(
        "--known",
        action="store_true",
        help="list the public models that can be fetched and imported instead",
    )


def add_repo_argument(parser: argparse.ArgumentParser) -> None:
    """Add --repo, as every command that takes a released model has it."""
    parser.add_argument(
        "--repo",
        metavar="FOLDER",
        help="folder of released models (default: $STEMGRID_REPO, else ./release_models, else "
        "the user's data folder)",
    )


def run(arguments: argparse.Namespace) -> int:
    """List the models of a repo, the default one marked with a star; or the known public ones.

    Raises:
        DataError: the repo is empty or damaged.
    """
    if arguments.known:
        print(format_known())
        return 0

    from mss.release.repo import Repo

    repo = Repo(arguments.repo)
    entries, bags, default = repo.entries(), repo.bag_names(), repo.default
    if not entries and not bags:
        repo.resolve()  # raises, and tells how to get a model
    named = any(entry.aliases for entry in entries)
    rows: list[Sequence[str]] = [(*_COLUMNS, _ALIASES) if named else _COLUMNS]
    for entry in entries:
        rows.append(
            (
                "*" if entry.name == default else "",
                entry.name,
                entry.arch,
                ",".join(entry.sources),
                f"{entry.samplerate} Hz",
                f"{entry.parameters:,}",
                format_scores(entry.scores),
                *([", ".join(entry.aliases)] if named else []),
            )
        )
    for name in bags:
        blank = [""] * (len(rows[0]) - 3)
        rows.append(("*" if name == default else "", name, "bag", *blank))
    print(f"{repo.root}:")
    print(format_table(rows))
    if default is not None:
        print("* is taken where no -n is given")
    return 0


def format_known() -> str:
    """Return the public models, each with licence, published score and download, as text."""
    from mss.release.importers.known import known_models

    rows: list[Sequence[str]] = [_KNOWN_COLUMNS]
    for known in known_models().values():
        rows.append(
            (
                known.name,
                known.arch,
                ",".join(known.sources),
                f"{known.megabytes} MB" if known.megabytes is not None else "",
                known.licence,
                known.published or "none stated",
            )
        )
    warnings = [
        f"{known.name}: {known.contamination}: don't evaluate it there"
        for known in known_models().values()
        if known.contamination is not None
    ]
    return "\n".join(
        [
            format_table(rows),
            "",
            *warnings,
            "Scores are the publishers' own; compare them within one metric and data set only.",
            "Import one, from a clone: python -m tools.import_checkpoint NAME -o release_models",
        ]
    )


def format_scores(scores: Mapping[str, Any]) -> str:
    """Return scores by protocol in one line: the mean over the sources, or a lone number.

    >>> format_scores({"nsdr/demo/test": {"vocals": 7.5, "mean": 6.449}})
    'nsdr/demo/test 6.45'
    """
    parts = []
    for protocol, value in scores.items():
        mean = value.get("mean") if isinstance(value, Mapping) else value
        if isinstance(mean, int | float):
            parts.append(f"{protocol} {mean:.2f}")
    return ", ".join(parts)


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
