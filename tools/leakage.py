"""What each stem of a data set contains: ``python -m tools.leakage -n NAME dset=... -o FOLDER``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mss.core.errors import ConfigError, StemgridError

if TYPE_CHECKING:
    from mss.core.targets import TargetMap
    from mss.data.tracks import TrackSet
    from mss.eval.protocol import System
    from mss.eval.stem_contents import ContentsRow, StemContents
    from mss.report.tables import Table

SHOWN_LEAKS = 10

NOTE = (
    "A source found in a stem that is not its own is bleed or a wrong label in the data, or the"
    " separator's own error:\nlisten before removing anything."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Separate every stem alone, print what comes out, return the exit status."""
    args = _parser().parse_intermixed_args(argv)
    try:
        print(view_leakage(args.repo, args.name, args.out, args.overrides, args.plugins))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"leakage: {error}", file=sys.stderr)
        return 1
    return 0


def view_leakage(
    repo_root: Path | None,
    name: str | None,
    out: Path,
    overrides: Sequence[str] = (),
    plugins: bool = False,
) -> str:
    """Run every stem of a data set through a released separator; return the table of its contents.

    Args:
        repo_root: folder of released models; None: mss.release.repo.default_repo_root().
        name: full name, signature or unique start; None: the repo's default.
        out: ``leakage.json`` (everything), ``leakage.csv`` and ``leakage.png`` (over songs) and
            ``songs.csv`` go to ``out/<full name>/<data set>-<split>/``.
        overrides: of the configuration's groups `dset`, `targets`, `test` and `misc`. The targets
            say which stems are a source's own.
        plugins: let an installed plug-in give the architecture.
    """
    # Here, not above: --help needs neither torch nor hydra.
    from mss import build
    from mss.eval.protocol import System
    from mss.eval.separation import recording_separator
    from mss.eval.stem_contents import aggregate_contents, contents_of_tracks
    from mss.eval.table import plural
    from mss.infer.bag import bag_chunk_fn
    from mss.release.repo import BagEntry, Repo
    from mss.report.tables import render_text

    cfg = build.compose_config(overrides)
    build.prepare_process(cfg)
    test = build.build_test(cfg)
    if test.shifts:
        raise ConfigError(f"test.shifts={test.shifts}: stems are separated unshifted; leave it out")
    device = build.build_device(cfg)
    repo = Repo(repo_root)
    entry = repo.resolve(name)
    release = repo.load(name, device, plugins)
    tracks = build.build_dataset(cfg).split(test.split)
    targets = build.build_target_map(cfg, tracks.stems)
    separate = recording_separator(
        bag_chunk_fn(release.members, release.weights),
        release.spec,
        release.inference,
        tracks.samplerate,
        batch_size=test.batch_size,
        device=device,
    )
    sources = release.spec.sources
    contents = contents_of_tracks(separate, sources, tracks.tracks, cfg.misc.progress)
    rows = aggregate_contents(contents, tracks.stems, sources)

    folder = out / release.name / f"{tracks.name}-{tracks.split}"
    title = (
        f"What {release.name} finds in the stems of {plural(len(tracks), 'song')} of"
        f" {tracks.name} ({tracks.split}): dB relative to the stem, median over songs"
    )
    table = matrix_table(rows, title)
    system = System(
        release.name,
        release.inference,
        test.batch_size,
        device=device.type,
        members=entry.recipe.members if isinstance(entry, BagEntry) else (),
        weights=release.weights,
    )
    _write(folder, table, rows, contents, _protocol(system, tracks, targets))
    return "\n\n".join(
        [render_text(table), _render_leaks(contents, targets), NOTE, f"Results: {folder}"]
    )


def matrix_table(rows: Sequence["ContentsRow"], title: str) -> "Table":
    """Return the energy matrix: a row a stem, a column a source."""
    from mss.report.tables import Column, Table

    parts = list(rows[0].median)
    notes = []
    for row in rows:
        if row.silent:
            songs = row.songs + row.silent
            notes.append(f"{row.stem}: silent in {row.silent} of {songs} songs, left out there")
    return Table(
        columns=(
            Column("stem", left=True),
            *(Column(part, ".1f") for part in parts),
            Column("songs"),
            Column("silent"),
        ),
        rows=tuple(
            (row.stem, *(_defined(row.median[part]) for part in parts), row.songs, row.silent)
            for row in rows
        ),
        title=title,
        notes=tuple(notes),
    )


def _defined(value: float) -> float | None:
    return value if value == value else None  # NaN: no song has the stem


def _render_leaks(contents: Sequence["StemContents"], targets: "TargetMap") -> str:
    from mss.eval.stem_contents import strongest_leaks

    leaks = strongest_leaks(contents, targets, SHOWN_LEAKS)
    if not leaks:
        return (
            "No stem can hold a source that is not its own: none of the separator's sources is one"
            " of `targets`."
        )
    lines = ["The strongest, song by song:"]
    lines += [
        f"{leak.level:7.1f} dB of {leak.source} in the {leak.stem} of {leak.track}"
        for leak in leaks
    ]
    return "\n".join(lines)


def _protocol(system: "System", tracks: "TrackSet", targets: "TargetMap") -> dict[str, Any]:
    """Return what the numbers mean, as plain values."""
    from mss.eval.stem_contents import DEFINITION

    return {
        "schema": 2,
        "system": system.to_json(),
        "dataset": tracks.name,
        "split": tracks.split,
        "fingerprint": tracks.fingerprint,
        "targets": dict(zip(targets.sources, map(list, targets.stems), strict=True)),
        "definition": DEFINITION,
        "median": "dB of the median over songs of |e|^2 / |s|^2",
        "pooled": "dB of the sum over songs of |e|^2, relative to that of |s|^2",
    }


def _write(
    folder: Path,
    table: "Table",
    rows: Sequence["ContentsRow"],
    contents: Sequence["StemContents"],
    protocol: dict[str, Any],
) -> None:
    """Write the view as JSON, CSV and heat map."""
    from dataclasses import asdict

    from mss.core.files import write_json_atomic, write_text_atomic
    from mss.eval.results import plain_numbers
    from mss.report.plots import heat_map
    from mss.report.tables import Column, Table, render_csv

    songs = [
        {"track": found.track, "stem": found.stem, "energy": found.energy, "levels": found.levels}
        for found in contents
    ]
    content = {**protocol, "stems": [asdict(row) for row in rows], "songs": songs}
    write_json_atomic(folder / "leakage.json", plain_numbers(content))
    write_text_atomic(folder / "leakage.csv", render_csv(table))
    of_songs = Table(
        columns=tuple(Column(name) for name in ("track", "stem", "part", "level_db")),
        rows=tuple(
            (found.track, found.stem, part, level)
            for found in contents
            for part, level in found.levels.items()
        ),
    )
    write_text_atomic(folder / "songs.csv", render_csv(of_songs))
    heat_map(
        [list(row.median.values()) for row in rows],
        [row.stem for row in rows],
        list(rows[0].median),
        "dB relative to the stem",
        f"{protocol['system']['name']} on the stems of {protocol['dataset']} ({protocol['split']})",
        folder / "leakage.png",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.leakage",
        description=(
            "Show what each stem of a data set contains, according to a released separator: every"
            " stem is separated alone."
        ),
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
        "-o", "--out", type=Path, default=Path("leakage"), help="folder (default: %(default)s)"
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
        help="of the configuration, e.g. dset=folder dset.root=PATH test.split=train",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
