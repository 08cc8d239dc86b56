"""The demo set on disk: shape, bytes, cache, two builders at once and a killed build."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mss.core.cache import cache_root
from mss.core.errors import ConfigError, DataError
from mss.core.files import file_sha256
from mss.data.synth import demo
from mss.data.synth.dataset import DEMO_SIZES, DemoSize, demo_size, is_whole, read_manifest
from mss.data.synth.demo import demo_folder, ensure_demo_dataset
from mss.data.synth.score import STEMS
from mss.data.synth.stats import song_stats

# The least that has two splits to compare: 2 seconds is the shortest song there is.
SMALLEST = DemoSize(train=1, valid=0, test=1, seconds=2)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_demo_dataset(tmp_path_factory.mktemp("demo"), "tiny", progress=False)


def test_shape_is_musdb_hq(tiny: Path) -> None:
    for split, count in (("train", 2), ("valid", 1), ("test", 1)):
        songs = sorted((tiny / split).iterdir())
        assert len(songs) == count
        for song in songs:
            expected = {f"{name}.wav" for name in ("mixture", *STEMS)}
            assert {path.name for path in song.iterdir()} == expected
            for path in song.iterdir():
                info = soundfile.info(path)
                assert (info.samplerate, info.channels, info.subtype) == (44100, 2, "PCM_16")
                assert info.duration >= 4


def test_songs_are_balanced_and_exact(tiny: Path) -> None:
    for folder in sorted(tiny.glob("t*/*")):
        stats = song_stats(folder)
        assert stats.exact_sum
        assert -2.5 < stats.peak_db <= -0.99
        for stem, numbers in stats.stems.items():
            assert -12 < numbers.level_db < -2.5, (folder, stem)
            assert numbers.active > 0.6, (folder, stem)
            # Four stems of like power: about 1.25 dB, and nothing that a volume knob would solve.
            assert 0.2 < numbers.best_gain_sdr < 4, (folder, stem)


def test_manifest_tells_how_the_set_was_made(tiny: Path) -> None:
    manifest = read_manifest(tiny)
    assert manifest["seed"] == 0
    assert manifest["size"] == {"train": 2, "valid": 1, "test": 1, "seconds": 4}
    assert "TimGM6mb" in manifest["licence"]
    assert [(song["split"], song["index"]) for song in manifest["songs"]] == [
        ("train", 0),
        ("train", 1),
        ("valid", 0),
        ("test", 0),
    ]
    on_disk = digests(tiny)
    on_disk.pop("manifest.json")
    listed = {file: sha for song in manifest["songs"] for file, sha in song["sha256"].items()}
    assert listed == on_disk


def test_the_same_seed_gives_the_same_bytes_whatever_the_processes(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_SONGS_WORTH_A_PROCESS", 2)  # two processes for four songs
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    again = ensure_demo_dataset(tmp_path, "tiny", progress=False)
    assert digests(again) == digests(tiny)


def test_another_seed_gives_other_songs_in_another_folder(tiny: Path, tmp_path: Path) -> None:
    other = ensure_demo_dataset(tmp_path, SMALLEST, seed=1, progress=False)
    assert other.name != tiny.name
    ours = {song["sha256"][f] for song in read_manifest(other)["songs"] for f in song["sha256"]}
    theirs = {song["sha256"][f] for song in read_manifest(tiny)["songs"] for f in song["sha256"]}
    assert not ours & theirs


def test_a_whole_set_is_used_as_it_is_and_a_damaged_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ensure_demo_dataset(tmp_path, SMALLEST, progress=False)
    before = digests(folder)

    def refuse(*args: object) -> None:
        raise AssertionError("a whole set was built again")

    with monkeypatch.context() as patch:
        patch.setattr(demo, "_build", refuse)
        assert ensure_demo_dataset(tmp_path, SMALLEST, progress=False) == folder
    wav = next(folder.glob("test/*/bass.wav"))
    os.truncate(wav, wav.stat().st_size - 1000)
    assert not is_whole(folder)
    ensure_demo_dataset(tmp_path, SMALLEST, progress=False)
    assert digests(folder) == before


SCRIPT = """
import sys
from pathlib import Path
from mss.data.synth.dataset import DemoSize
from mss.data.synth.demo import ensure_demo_dataset
size = DemoSize(*map(int, sys.argv[2:]))
print(ensure_demo_dataset(Path(sys.argv[1]), size, progress=False))
"""


def start_build(root: Path, *size: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(root), *map(str, size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def building(root: Path) -> list[Path]:
    return list(root.glob(".demo-*.building-*"))


def test_two_processes_at_once_build_once_and_agree(tmp_path: Path) -> None:
    """The second begins while the first builds, and returns the set that the first made."""
    first = start_build(tmp_path, 1, 0, 1, 2)
    while first.poll() is None and not building(tmp_path):
        time.sleep(0.01)
    folder = ensure_demo_dataset(tmp_path, SMALLEST, progress=False)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0
    assert Path(output.strip()) == folder
    assert is_whole(folder)
    assert not building(tmp_path)


def test_a_killed_build_leaves_no_set_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    process = start_build(tmp_path, 1, 0, 1, 2)
    while process.poll() is None and not building(tmp_path):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert building(tmp_path)
    assert not demo_folder(tmp_path, SMALLEST, 0).exists()
    folder = ensure_demo_dataset(tmp_path, SMALLEST, progress=False)
    assert is_whole(folder)
    assert not building(tmp_path)


def test_a_failing_worker_ends_the_build_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_SONGS_WORTH_A_PROCESS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DataError, match="exit code 1"):
        ensure_demo_dataset(tmp_path, SMALLEST, progress=False)
    assert not building(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"file.*STEMGRID_CACHE"):
        ensure_demo_dataset(tmp_path / "file", SMALLEST, progress=False)


def test_too_little_space_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(demo.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"needs 1\.1 GB"):
        ensure_demo_dataset(tmp_path, "demo", progress=False)


def test_sizes() -> None:
    size = DEMO_SIZES["demo"]
    assert (size.train >= 24, size.valid >= 4, size.test >= 8, size.seconds >= 20) == (True,) * 4
    with pytest.raises(ConfigError, match="Did you mean 'tiny'"):
        demo_size("tinny")
    with pytest.raises(ConfigError, match="0 songs"):
        DemoSize(0, 0, 0, 20)
    with pytest.raises(ConfigError, match=r"DemoSize\.test"):
        DemoSize(1, 1, -1, 20)


def test_folder_names_differ_by_size_and_seed() -> None:
    names = {demo_folder(Path(), size, seed).name for size in ("demo", "tiny") for seed in (0, 1)}
    assert len(names) == 4


def test_cache_root_follows_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))
    assert cache_root() == tmp_path / "cache"
    assert demo_folder(None, "tiny", 0).parent == tmp_path / "cache" / "demo"
    monkeypatch.setenv("STEMGRID_CACHE", " ")
    assert "stemgrid" in str(cache_root())


def test_stats_measure_a_known_song(tmp_path: Path) -> None:
    """Two stems of equal power without correlation: the best gain is 1/2 and gives 3 dB."""
    rng = np.random.default_rng(0)
    frames = 44100 * 4
    stems = {stem: np.zeros((frames, 2), np.int16) for stem in STEMS}
    stems["drums"] = (rng.normal(size=(frames, 2)) * 2000).astype(np.int16)
    stems["bass"] = (rng.normal(size=(frames, 2)) * 2000).astype(np.int16)
    stems["other"][0] = stems["vocals"][0] = 1  # not silent, so that their figures are finite
    mixture = sum(wave.astype(np.int32) for wave in stems.values()).astype(np.int16)
    for name, wave in (("mixture", mixture), *stems.items()):
        soundfile.write(tmp_path / f"{name}.wav", wave, 44100, subtype="PCM_16")
    stats = song_stats(tmp_path)
    assert stats.exact_sum
    assert stats.stems["drums"].best_gain_sdr == pytest.approx(3.01, abs=0.1)
    assert stats.stems["drums"].level_db == pytest.approx(-3.01, abs=0.1)
    assert stats.stems["drums"].active == 1
    json.dumps(stats.stems["drums"].level_db)
