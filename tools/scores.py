"""Show scores that are stored: ``python -m tools.scores results/NAME/musdb18hq-test/nsdr``.

Ours, or those that museval wrote (a folder with ``test/SONG.json``, as SiSEC's submissions have).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mss.core.errors import StemgridError


def main(argv: Sequence[str] | None = None) -> int:
    """Print the scores of results folders."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.scores", description="Show the scores of results folders."
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="RESULTS",
        help="a results folder, or one with test/SONG.json in museval's layout",
    )
    try:
        print("\n\n".join(scores_table(folder) for folder in parser.parse_args(argv).folders))
    except StemgridError as error:
        print(f"scores: {error}", file=sys.stderr)
        return 1
    return 0


def scores_table(folder: Path) -> str:
    """Return a table of sources and measures, each over the songs as the measure says."""
    # Here, not above: --help needs no numbers.
    from mss.eval.caveats import missing_score_notes, remark_notes, unknown_data_note
    from mss.eval.museval_results import read_stored
    from mss.eval.summary import over_songs
    from mss.eval.table import plural
    from mss.report.tables import Column, Table, render_text

    stored = read_stored(folder)
    rows = [
        (
            source,
            *(
                over_songs(measure, (scores[name][source] for scores in stored.tracks.values()))
                for name, measure in stored.measures.items()
            ),
        )
        for source in stored.sources
    ]
    songs = plural(len(stored.tracks), "song")
    label = f" ({stored.label})" if stored.label else ""
    columns = [
        Column(f"{measure.name} [{measure.unit}]", ".2f") for measure in stored.measures.values()
    ]
    notes = [
        f"{name}: {measure.over_tracks} over songs ({stored.ids[name]})"
        for name, measure in stored.measures.items()
    ]
    for name in stored.measures:
        notes += missing_score_notes(stored, name)
    notes += [*remark_notes(stored), *unknown_data_note([stored])]
    return render_text(
        Table(
            columns=(Column("source", left=True), *columns),
            rows=tuple(rows),
            title=f"{stored.system}{label}: {songs} of {stored.dataset}",
            notes=tuple(notes),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
