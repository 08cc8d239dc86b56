"""The data check: every file and every fault, not the first only."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mss.core.errors import DataError
from mss.data.check import CheckReport, Fault, check_folder
from tools.check_data import main


@pytest.fixture
def root(tmp_path: Path, write_song) -> Path:
    for seed, name in enumerate(("train/a", "train/b", "train/c", "test/d")):
        write_song(tmp_path / "set" / name, 70_000, seed)  # more than one block
    return tmp_path / "set"


def found(report: CheckReport) -> list[tuple[str, str, str, str]]:
    return sorted((f.severity, f.track, f.file.name, f.kind) for f in report.faults)


def only(report: CheckReport) -> Fault:
    assert len(report.faults) == 1, found(report)
    return report.faults[0]


def rewrite(path: Path, change, subtype: str = "PCM_16") -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, change(samples), rate, subtype=subtype)


def test_a_whole_data_set(root: Path) -> None:
    report = check_folder(root)
    assert report.faults == ()
    assert report.tracks == {"train": 3, "test": 1}
    assert report.stems == ("drums", "bass", "other", "vocals")
    assert report.largest_deviation == 0.0
    assert report.seconds == pytest.approx(4 * 70_000 / 44100)
    assert main([str(root)]) == 0


def test_collects_every_fault(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c, d = (root / name for name in ("train/a", "train/b", "train/c", "test/d"))
    (a / "bass.wav").unlink()
    rewrite(a / "drums.wav", lambda x: x[:-5])
    rewrite(b / "vocals.wav", lambda x: x * 0)
    (b / "mixture.wav").unlink()
    content = (c / "other.wav").read_bytes()
    (c / "other.wav").write_bytes(content[: len(content) // 2])
    soundfile.write(c / "drums.wav", np.zeros((70_000, 1)) + 0.1, 48000)
    rewrite(
        d / "bass.wav", lambda x: np.where(np.arange(70_000)[:, None] == 66_000, np.nan, x), "FLOAT"
    )
    report = check_folder(root)
    assert found(report) == sorted(
        [
            ("error", "train/a", "a", "missing stem"),
            ("error", "train/a", "drums.wav", "length"),
            ("warning", "train/b", "vocals.wav", "silent"),
            ("error", "train/c", "other.wav", "unreadable"),
            ("error", "train/c", "drums.wav", "sample rate"),
            ("error", "train/c", "drums.wav", "channels"),
            ("error", "test/d", "bass.wav", "NaN"),
        ]
    )
    messages = {fault.kind: fault.message for fault in report.faults}
    assert "'bass' is missing" in messages["missing stem"]
    assert "has 69995 samples, the track's other files 70000" in messages["length"]
    assert "truncated" in messages["unreadable"]
    assert "has 48000 Hz, not 44100 Hz" in messages["sample rate"]
    assert "has 1 channels, the track's other files 2" in messages["channels"]
    assert "sample 66000 is NaN" in messages["NaN"]
    assert main([str(root)]) == 1
    printed = capsys.readouterr().out
    for fault in report.faults:
        assert fault.message in printed
        assert fault.track in printed
    assert "6 errors, 1 warnings, 0 notes" in printed


@pytest.mark.parametrize("place", [10, 69_999])
def test_mixture_that_is_not_the_sum(root: Path, place: int) -> None:
    def disturb(samples: np.ndarray) -> np.ndarray:
        samples[place, 1] += 6 / 32768
        return samples

    rewrite(root / "train" / "b" / "mixture.wav", disturb)
    report = check_folder(root)
    fault = only(report)
    assert (fault.severity, fault.track, fault.kind) == ("error", "train/b", "not the sum")
    assert f"at sample {place};" in fault.message
    # 6 steps of 16 bits where 5 files may be a step off each
    assert report.largest_deviation == 6 / 32768
    assert check_folder(root, tolerance=6 / 32768).faults == ()


def test_rounding_is_tolerated(root: Path) -> None:
    generator = np.random.default_rng(0)
    names = ("drums", "bass", "other", "vocals")
    exact = {stem: generator.uniform(-3000, 3000, (70_000, 2)) for stem in names}
    for stem, samples in {**exact, "mixture": sum(exact.values())}.items():
        path = root / "train" / "a" / f"{stem}.wav"
        soundfile.write(path, np.rint(samples).astype(np.int16), 44100, subtype="PCM_16")
    report = check_folder(root)
    assert report.faults == ()
    assert report.largest_deviation == 2 / 32768  # five roundings of half a step, in whole steps


def test_truncated_flac(root: Path) -> None:
    samples, rate = soundfile.read(root / "train" / "a" / "bass.wav")
    (root / "train" / "a" / "bass.wav").unlink()
    path = root / "train" / "a" / "bass.flac"
    soundfile.write(path, samples, rate)
    path.write_bytes(path.read_bytes()[:-20_000])
    fault = only(check_folder(root))
    assert (fault.file, fault.kind) == (path, "unreadable")


def test_clipping_is_a_note(root: Path) -> None:
    def clip(samples: np.ndarray) -> np.ndarray:
        samples[500:505, 0] = 1.0
        return samples

    rewrite(root / "train" / "a" / "mixture.wav", clip)
    notes = check_folder(root, tolerance=2.0).faults
    assert [(note.severity, note.kind) for note in notes] == [("note", "clipping")]
    assert "3 times 3 samples" in notes[0].message


def test_one_peak_at_full_scale_is_no_clipping(root: Path) -> None:
    def peak(samples: np.ndarray) -> np.ndarray:
        samples[500, 0] = 1.0
        return samples

    rewrite(root / "train" / "a" / "mixture.wav", peak)
    assert check_folder(root, tolerance=2.0).faults == ()


def test_silent_mixture(root: Path) -> None:
    for path in (root / "train" / "a").iterdir():
        rewrite(path, lambda x: x * 0)
    report = check_folder(root)
    assert ("error", "train/a", "mixture.wav", "silent") in found(report)
    assert report.count("warning") == 4


def test_same_song_in_two_splits(root: Path) -> None:
    shutil.copytree(root / "train" / "a", root / "test" / "renamed")
    fault = only(check_folder(root))
    assert (fault.severity, fault.track, fault.kind) == ("error", "test/renamed", "duplicate")
    assert "train/a" in fault.message
    shutil.move(root / "test" / "renamed", root / "train" / "renamed")
    assert only(check_folder(root)).severity == "warning"


def test_odd_and_doubled_stems(root: Path, write_song) -> None:
    write_song(root / "train" / "b", 70_000, 9, ("organ",), mixture=False)
    write_song(root / "train" / "c", 70_000, 9, ("bass",), mixture=False, suffix="flac")
    report = check_folder(root)
    kinds = {(fault.track, fault.kind) for fault in report.faults}
    assert ("train/b", "odd stem") in kinds
    assert ("train/c", "doubled stem") in kinds
    assert report.count("error") == len(report.faults)


def test_named_stems_and_rate(root: Path) -> None:
    (root / "train" / "b" / "bass.wav").unlink()
    report = check_folder(root, stems=["drums", "vocals"], samplerate=48000, tolerance=2.0)
    assert report.stems == ("drums", "vocals")
    assert {fault.kind for fault in report.faults} == {"sample rate"}
    assert len(report.faults) == 12  # three files of each of four tracks


def test_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="0 tracks"):
        check_folder(tmp_path)
    assert main([str(tmp_path / "absent")]) == 1
    output = capsys.readouterr()
    assert "there is no such folder" in output.err
    assert output.out == ""


@pytest.mark.shared_data
def test_real_songs(shared_data: Path) -> None:
    """The mixture is the exact sum; two songs have a silent bass, which is no error."""
    report = check_folder(shared_data)
    assert found(report) == [
        ("warning", "test/Francium", "bass.flac", "silent"),
        ("warning", "train/Hydrogen", "bass.flac", "silent"),
    ]
    assert report.largest_deviation == 0.0
