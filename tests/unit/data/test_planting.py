"""Planted noise: what is changed, what is told of it, and what stays as it was."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mss.core.errors import ConfigError, DataError
from mss.data.check import check_folder
from mss.data.noise_manifest import read_manifest
from mss.data.noise_truth import Planted, read_truth
from mss.data.planting import MANIFEST, TRUTH, Planting, plant_noise

STEMS = ("drums", "bass", "other", "vocals")


@pytest.fixture
def root(tmp_path: Path, write_song: Any) -> Path:
    """Ten training songs, one to validate, one to test."""
    songs = [f"train/song {index}" for index in range(10)] + ["valid/v", "test/t"]
    for seed, name in enumerate(songs):
        write_song(tmp_path / "clean" / name, 500 + seed, seed)
    (tmp_path / "clean" / "manifest.json").write_text("{}")
    return tmp_path / "clean"


def read(root: Path, song: str) -> dict[str, np.ndarray]:
    return {
        path.stem: soundfile.read(path, dtype="int16")[0].astype(np.int64)
        for path in sorted((root / "train" / song).iterdir())
    }


def hashes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_planted_songs_are_what_the_truth_tells(root: Path, tmp_path: Path) -> None:
    before = hashes(root)
    gain = 10 ** (-8 / 20)
    truth = plant_noise(root, tmp_path / "noisy", Planting(0.3, 0.4, bleed_db=-8, seed=1), False)
    assert hashes(root) == before, "the clean set is kept"
    kinds = [planted and planted.kind for planted in truth.songs.values()]
    assert (kinds.count("swap"), kinds.count("bleed"), kinds.count(None)) == (3, 4, 3)
    for song, planted in truth.songs.items():
        clean, noisy = read(root, song), read(tmp_path / "noisy", song)
        assert set(noisy) == {*STEMS, "mixture"}
        expected = dict(clean)
        if planted is not None and planted.kind == "swap":
            first, second = planted.stems
            expected[first], expected[second] = clean[second], clean[first]
        elif planted is not None:
            into, of = planted.stems
            moved = np.rint(gain * clean[of]).astype(np.int64)
            expected[into], expected[of] = clean[into] + moved, clean[of] - moved
            level = 10 * np.log10((moved**2).sum() / (clean[into] ** 2).sum())
            assert planted.level_db == pytest.approx(level, abs=1e-3)
            assert level == pytest.approx(-8, abs=0.5)  # stems of one loudness
        for stem, samples in expected.items():
            assert np.array_equal(noisy[stem], samples), (song, stem)
        total = sum(noisy[stem] for stem in STEMS)
        assert np.array_equal(total, noisy["mixture"]), "the sum of the stems stays the mixture"


def test_the_copy_is_whole(root: Path, tmp_path: Path) -> None:
    plant_noise(root, tmp_path / "noisy", Planting(0.5, 0.5), False)
    before, after = hashes(root), hashes(tmp_path / "noisy")
    del before["manifest.json"]  # of the clean set
    assert set(after) == {*before, MANIFEST, TRUTH}
    for name, digest in before.items():
        if not name.startswith("train/"):
            assert after[name] == digest
    report = check_folder(tmp_path / "noisy")
    # only a swap can make two files of a set alike, and none does
    assert [fault for fault in report.faults if fault.severity == "error"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "noisy"]


def test_manifest_and_truth_agree(root: Path, tmp_path: Path) -> None:
    truth = plant_noise(root, tmp_path / "noisy", Planting(0.3, 0.3), False)
    assert read_truth(tmp_path / "noisy" / TRUTH) == truth
    manifest = read_manifest(tmp_path / "noisy" / MANIFEST)
    manifest.check_songs({f"song {index}" for index in range(10)})
    for song, planted in truth.songs.items():
        assert manifest.songs[song].clean == (planted is None)
        noisy = set() if planted is None else set(planted.noisy)
        assert manifest.noisy_stems(song, STEMS) == noisy
        assert {stem for stem in STEMS if truth.kind(song, stem)} == noisy


def test_of_a_bleed_only_what_it_is_in_is_noisy() -> None:
    assert Planted("bleed", ("drums", "vocals"), -3.0).noisy == ("drums",)
    assert Planted("swap", ("drums", "vocals")).noisy == ("drums", "vocals")


def test_the_seed_decides(root: Path, tmp_path: Path) -> None:
    def plant(name: str, seed: int) -> dict[str, str]:
        plant_noise(root, tmp_path / name, Planting(0.3, 0.3, seed=seed), False)
        return hashes(tmp_path / name)

    assert plant("one", 0) == plant("two", 0)
    assert plant("three", 1) != plant("four", 0)


def test_formats_stay(tmp_path: Path) -> None:
    """16, 24 and 32 bits (float), WAV and FLAC, with a sum that is exact for integers."""
    generator = np.random.default_rng(0)
    formats = {
        "pcm16": ("wav", "PCM_16", 1e-9),
        "pcm24": ("flac", "PCM_24", 1e-9),
        "float": ("wav", "FLOAT", 1e-6),
    }
    for name, (suffix, subtype, _) in formats.items():
        folder = tmp_path / "clean" / name
        folder.mkdir(parents=True)
        for stem in ("bass", "vocals"):
            # loud: sums pass full scale, where integers can't follow
            samples = generator.uniform(-0.9, 0.9, (400, 2))
            soundfile.write(folder / f"{stem}.{suffix}", samples, 8000, subtype=subtype)
    plant_noise(tmp_path / "clean", tmp_path / "noisy", Planting(bleed=1, bleed_db=-3), False)
    for name, (suffix, subtype, tolerance) in formats.items():
        waves = {}
        for place in ("clean", "noisy"):
            paths = [tmp_path / place / name / f"{stem}.{suffix}" for stem in ("bass", "vocals")]
            assert all(soundfile.info(path).subtype == subtype for path in paths)
            waves[place] = [soundfile.read(path)[0] for path in paths]
        assert not np.array_equal(*(waves[place][0] for place in waves))
        assert np.allclose(sum(waves["clean"]), sum(waves["noisy"]), rtol=0, atol=tolerance)


def test_silent_stems_are_passed_over(tmp_path: Path, write_song: Any) -> None:
    for seed in range(4):
        folder = tmp_path / "clean" / f"s{seed}"
        written = write_song(folder, 300, seed, mixture=False)
        for stem in ("bass", "other") if seed else ("bass", "other", "vocals"):
            soundfile.write(folder / f"{stem}.wav", 0 * written[stem], 44100, subtype="PCM_16")
    truth = plant_noise(tmp_path / "clean", tmp_path / "noisy", Planting(swaps=0.75), False)
    assert truth.songs["s0"] is None
    for song in ("s1", "s2", "s3"):
        planted = truth.songs[song]
        assert planted is not None and set(planted.stems) == {"drums", "vocals"}
    with pytest.raises(DataError, match="only 3 of 4 songs have two audible stems"):
        plant_noise(tmp_path / "clean", tmp_path / "more", Planting(swaps=1), False)


def test_an_interrupted_planting_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mss.data.planting.write_truth", fail)
    with pytest.raises(KeyboardInterrupt):
        plant_noise(root, tmp_path / "noisy", Planting(0.5), False)
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_what_a_killed_planting_left_is_removed(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / ".noisy.planting-abc" / "noisy")
    plant_noise(root, tmp_path / "noisy", Planting(0.5), False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "noisy"]


def test_places_that_would_harm_the_clean_set(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--out: .* is there already"):
        plant_noise(root, root, Planting(0.5), False)
    with pytest.raises(ConfigError, match=r"--out: .* lies within the clean set"):
        plant_noise(root, root / "train" / "noisy", Planting(0.5), False)
    (tmp_path / "only" / "test").mkdir(parents=True)
    shutil.copytree(root / "test" / "t", tmp_path / "only" / "test" / "t")
    with pytest.raises(DataError, match="has no train/ folder"):
        plant_noise(tmp_path / "only", tmp_path / "noisy", Planting(0.5), False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"swaps": 1.5}, "--swaps: 1.5 is no share"),
        ({"bleed": -0.1}, "--bleed: -0.1 is no share"),
        ({}, "together more than 0 and at most 1"),
        ({"swaps": 0.7, "bleed": 0.7}, "together more than 0 and at most 1"),
        ({"bleed": 0.5, "bleed_db": 0.0}, "--bleed-db: 0.0 is no attenuation"),
        ({"bleed": 0.5, "bleed_db": float("nan")}, "--bleed-db: nan"),
    ],
)
def test_wrong_amounts(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Planting(**values)


def test_shares_that_are_no_song(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not one of 10 songs"):
        plant_noise(root, tmp_path / "noisy", Planting(0.01), False)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', '{"schema": 1, "songs": {}}'])
def test_a_file_that_is_no_truth(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(DataError, match=r"t\.json: is no truth\.json"):
        read_truth(tmp_path / "t.json")
