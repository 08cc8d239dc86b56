"""The manifest of a noisy data set: which songs are clean, and what is wrong with the others.

    ID,Clean,Notes
    song a,True,
    song b,False,bass: swapped with vocals; vocals: swapped with bass

These are the columns of the label-noise set of the Sound Demixing Challenge 2023
(arXiv 2308.06979), where Notes is free text. What Stemgrid writes there names stems: parts
``STEM: what of it`` with semicolons between, which `per_stem` reads.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from mss.core.errors import DataError, nearest_name_hint
from mss.core.files import write_text_atomic

COLUMNS = ("ID", "Clean", "Notes")

_TRUE = frozenset({"true", "yes", "y", "1"})
# An empty cell is a song that nobody has marked as clean.
_FALSE = frozenset({"false", "no", "n", "0", ""})


@dataclass(frozen=True)
class SongLabel:
    """What is known of one song.

    Attributes:
        clean: every stem is what its name says.
        notes: free text, or parts that name stems.
    """

    clean: bool
    notes: str = ""


@dataclass(frozen=True)
class NoiseManifest:
    """What is known of the songs of a data set.

    Attributes:
        path: of the file.
        songs: by name.
    """

    path: Path
    songs: Mapping[str, SongLabel]

    def check_songs(self, names: Collection[str]) -> None:
        """Make sure that the manifest is of these songs.

        Raises:
            DataError: it names a song that is not there, or is silent on one that is.
        """
        for name in self.songs:
            if name not in names:
                hint = nearest_name_hint(name, names)
                raise DataError(
                    f"{self.path}: ID {name!r} is none of the {len(names)} training songs.{hint}"
                )
        for name in sorted(names):
            if name not in self.songs:
                raise DataError(
                    f"{self.path}: has no row for the training song {name!r}; add one, or move the"
                    " song out"
                )

    def noisy_stems(self, name: str, stems: Collection[str]) -> frozenset[str]:
        """Return which stems of a song are not to be trusted: none of a clean one.

        Where the notes on a song that is not clean name no stem, all may be wrong.

        Raises:
            DataError: a part of the notes names no stem of the data set.
        """
        label = self.songs[name]
        if label.clean:
            return frozenset()
        noted = frozenset(self._noted(name, label.notes, stems))
        return noted or frozenset(stems)

    def _noted(self, name: str, notes: str, stems: Collection[str]) -> list[str]:
        found = []
        for part in notes.split(";"):
            stem, colon, _ = part.partition(":")
            if not colon:
                continue  # free text
            if stem.strip() not in stems:
                hint = nearest_name_hint(stem.strip(), stems)
                raise DataError(
                    f"{self.path}: Notes of {name!r} speak of a stem {stem.strip()!r}, which the"
                    f" data has not.{hint} (Without dset.per_stem notes are free text.)"
                )
            found.append(stem.strip())
        return found


def stem_notes(notes: Mapping[str, str]) -> str:
    """Return the Notes cell that says of each stem what is wrong with it."""
    return "; ".join(f"{stem}: {note}" for stem, note in notes.items())


def read_manifest(path: Path) -> NoiseManifest:
    """Read a manifest; further columns are passed over.

    Raises:
        DataError: it can't be read, a column is missing, an ID is empty or stands twice, or Clean
            is neither yes nor no.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: this manifest can't be read ({reason})") from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    for column in COLUMNS:
        if column not in (rows.fieldnames or ()):
            raise DataError(
                f"{path}: the column {column!r} is missing; a manifest begins with the line"
                f" {','.join(COLUMNS)}"
            )
    songs: dict[str, SongLabel] = {}
    for row in rows:
        where = f"{path}: line {rows.line_num}"
        if None in row:
            raise DataError(f'{where}: has too many cells; put a text with commas in "quotes"')
        name = (row["ID"] or "").strip()
        if not name:
            raise DataError(f"{where}: has no ID; name the song's folder")
        if name in songs:
            raise DataError(f"{where}: ID {name!r} stands twice; remove one row")
        songs[name] = SongLabel(_truth_value(row["Clean"] or "", where), row["Notes"] or "")
    return NoiseManifest(path, songs)


def write_manifest(path: Path, songs: Mapping[str, SongLabel]) -> None:
    """Write a manifest atomically, its rows by name."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name in sorted(songs):
        writer.writerow((name, songs[name].clean, songs[name].notes))
    write_text_atomic(path, text.getvalue())


def _truth_value(cell: str, where: str) -> bool:
    word = cell.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise DataError(f"{where}: Clean is {cell!r}; write True or False")
