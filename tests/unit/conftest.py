"""Small data sets of known samples."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

SAMPLERATE = 44100

WriteSong = Callable[..., dict[str, np.ndarray]]
"""(folder, frames, seed, stems=, suffix=, mixture=, ...) -> int16 samples [T, C] of each file."""


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("STEMGRID_CACHE", str(folder))
    return folder


@pytest.fixture
def write_song() -> WriteSong:
    """Write one song of seeded 16-bit noise, its mixture the exact sum."""

    def write(
        folder: Path,
        frames: int = 1000,
        seed: int = 0,
        stems: Sequence[str] = ("drums", "bass", "other", "vocals"),
        suffix: str = "wav",
        mixture: bool = True,
        channels: int = 2,
        samplerate: int = SAMPLERATE,
    ) -> dict[str, np.ndarray]:
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(seed)
        written = {
            stem: generator.integers(-3000, 3000, (frames, channels)).astype(np.int16)
            for stem in stems
        }
        if mixture:
            written["mixture"] = np.sum([written[stem] for stem in stems], axis=0, dtype=np.int16)
        for name, samples in written.items():
            soundfile.write(folder / f"{name}.{suffix}", samples, samplerate, subtype="PCM_16")
        return written

    return write
