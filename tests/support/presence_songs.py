"""Songs of band-limited stems that come and go, and a small presence net for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from noisy_songs import RATE, STEMS, band_noise

from mss.data.folder import FolderDataset
from mss.distill.presence import Calibration, PresenceDetector, calibrate
from mss.distill.presence_mixing import Excerpts
from mss.distill.presence_net import PresenceConfig
from mss.distill.presence_training import PresenceTraining, new_net, train_presence

SEGMENT = 1.0
"""Seconds."""

CONFIG = PresenceConfig(STEMS, RATE, 1, SEGMENT, bands=32, width=8)
TRAINING = PresenceTraining(steps=150, every=50, patience=3, batch_size=4, lr=3e-3)


def write_labelled(root: Path, train: int = 4, valid: int = 2, seconds: float = 6.0) -> Path:
    """Write ROOT/{train,valid}/NAME/STEM.wav, in which every stem plays all the time."""
    for split, songs in (("train", train), ("valid", valid)):
        for index in range(songs):
            folder = root / split / f"{split} {index}"
            folder.mkdir(parents=True)
            for stem in STEMS:
                seed = 100 * index + len(split)
                _write(folder / f"{stem}.wav", band_noise(stem, int(seconds * RATE), seed))
    return root


def write_recording(
    folder: Path, segments: int, silent: dict[str, range], seed: int = 7, extra: int = 0
) -> Path:
    """Write FOLDER/mixture.wav, in which stems are silent in ranges of segments.

    It is `extra` samples longer than its segments.
    """
    frames = CONFIG.segment_frames
    mix = np.zeros(segments * frames + extra)
    for stem in STEMS:
        wave = band_noise(stem, len(mix), seed)
        for segment in silent.get(stem, ()):
            wave[segment * frames : (segment + 1) * frames] = 0
        mix += wave
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "mixture.wav", mix)
    return folder / "mixture.wav"


def _write(path: Path, wave: np.ndarray) -> None:
    soundfile.write(path, wave, RATE, subtype="FLOAT")


def labelled(root: Path) -> FolderDataset:
    """Return the data set that `write_labelled` wrote."""
    return FolderDataset(FolderDataset.Config(root=str(root), samplerate=RATE, channels=1))


def trained(
    root: Path, training: PresenceTraining = TRAINING, calibration: Calibration | None = None
) -> PresenceDetector:
    """Train a net on the songs of `write_labelled`, and find its thresholds."""
    calibration = calibration or Calibration(excerpts=200, left_out=0.4)
    dataset = labelled(root)
    net = new_net(CONFIG, training.seed).eval()
    held_out = Excerpts.of(
        net, dataset.split("valid"), calibration.excerpts, calibration.left_out, calibration.seed
    )
    train_presence(net, dataset.split("train"), held_out, training)
    return calibrate(net, held_out, calibration)
