"""The manifest of a noisy data set: what is read, written and refused."""

from pathlib import Path

import pytest

from mss.core.errors import DataError
from mss.data.noise_manifest import (
    NoiseManifest,
    SongLabel,
    read_manifest,
    stem_notes,
    write_manifest,
)

STEMS = ("drums", "bass", "vocals")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    songs = {
        "b, the second": SongLabel(False, stem_notes({"bass": 'a "quoted" note, with commas'})),
        "a": SongLabel(True),
        "Ünïcode": SongLabel(False, "two\nlines"),
    }
    write_manifest(tmp_path / "m.csv", songs)
    assert read_manifest(tmp_path / "m.csv").songs == songs
    lines = (tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["ID,Clean,Notes", "a,True,"]  # by name
    before = (tmp_path / "m.csv").read_bytes()
    write_manifest(tmp_path / "m.csv", dict(reversed(songs.items())))
    assert (tmp_path / "m.csv").read_bytes() == before


def test_other_writers_cells_are_read(tmp_path: Path) -> None:
    """Spreadsheets put a mark at the beginning, other columns and other words; rows end early."""
    path = tmp_path / "m.csv"
    path.write_bytes(
        "ID,Genre,Clean,Notes\r\nx,pop,yes,fine\r\ny,,0,\r\n\r\nz,rock,,\r\nv,,TRUE\r\n".encode(
            "utf-8-sig"
        )
    )
    found = read_manifest(path).songs
    assert {name: label.clean for name, label in found.items()} == {
        "x": True,
        "y": False,
        "z": False,  # not marked
        "v": True,
    }
    assert found["x"].notes == "fine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,Notes\nx,\n", r"m\.csv: the column 'Clean' is missing"),
        ("", r"the column 'ID' is missing"),
        ("ID,Clean,Notes\nx,True,\nx,False,\n", r"line 3: ID 'x' stands twice"),
        ("ID,Clean,Notes\n ,True,\n", r"line 2: has no ID"),
        ("ID,Clean,Notes\nx,maybe,\n", r"line 2: Clean is 'maybe'; write True or False"),
        ("ID,Clean,Notes\nx,True,loud, noisy\n", r"line 2: has too many cells"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "m.csv")


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.csv: this manifest can't be read \(No such file"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"ID,Clean,Notes\n\xff\xfe,True,\n")
    with pytest.raises(DataError, match=r"m\.csv: this manifest can't be read"):
        read_manifest(tmp_path / "m.csv")


def manifest(**songs: SongLabel) -> NoiseManifest:
    return NoiseManifest(Path("m.csv"), songs)


def test_it_has_to_be_of_the_songs() -> None:
    found = manifest(one=SongLabel(True), two=SongLabel(False))
    found.check_songs({"one", "two"})
    with pytest.raises(DataError, match=r"m\.csv: ID 'two' is none of the 2 .*mean 'twoo'"):
        found.check_songs({"one", "twoo"})
    with pytest.raises(DataError, match=r"m\.csv: has no row for the training song 'three'"):
        found.check_songs({"one", "two", "three"})


@pytest.mark.parametrize(
    ("label", "noisy"),
    [
        (SongLabel(True), set()),
        (SongLabel(True, "bass: silent"), set()),
        (SongLabel(False, "bass: swapped?; vocals:"), {"bass", "vocals"}),
        (SongLabel(False, "drums: +3.0 dB against bass; a remark"), {"drums"}),
        (SongLabel(False), set(STEMS)),
        (SongLabel(False, "sounds odd"), set(STEMS)),
    ],
)
def test_notes_name_noisy_stems(label: SongLabel, noisy: set[str]) -> None:
    assert manifest(x=label).noisy_stems("x", STEMS) == noisy


def test_notes_on_an_unknown_stem_are_refused() -> None:
    """Else the one that was meant would be trusted."""
    found = manifest(x=SongLabel(False, "bass: bleed; vocal: swapped"))
    with pytest.raises(DataError, match=r"Notes of 'x' speak of a stem 'vocal'.*'vocals'"):
        found.noisy_stems("x", STEMS)
