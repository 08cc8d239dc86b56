"""Planting noise into a copy of a clean data set, so that what finds or endures it can be measured.

- A *swap* exchanges two stems of a song: both are then labelled wrongly.
- A *bleed* moves a part of one stem into another. In a studio the drums' microphones hear the
  singer, too; what the mix holds of the voice is the sum of all that was recorded of it. So of the
  voice s in the mix the drums' stem holds g s and the vocals' stem the rest, (1 - g) s.

Either way the mixture, and the sum of the stems, are what they were, to the last bit where samples
are integers.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from mss.core.audio_io import AudioInfo, AudioReader, AudioWriter, audio_info, open_writer
from mss.core.errors import ConfigError, DataError
from mss.core.rng import derive_seed, numpy_generator
from mss.data.noise_manifest import SongLabel, stem_notes, write_manifest
from mss.data.noise_truth import NoiseKind, NoiseTruth, Planted, write_truth
from mss.data.scan import TrackFolder, discover_stems, find_tracks
from mss.data.tracks import MIXTURE

logger = logging.getLogger(__name__)

MANIFEST = "manifest.csv"
TRUTH = "truth.json"

AUDIBLE_DB = -60.0
"""dB of full scale (RMS of the song): what is below is too little to be planted or found."""

_BLOCK = 1 << 18  # samples
_BITS = {"PCM_16": 16, "PCM_24": 24}


@dataclass(frozen=True)
class Planting:
    """How much noise is planted.

    Attributes:
        swaps: share of the training songs that get a swap.
        bleed: share of them, others, that get a bleed.
        bleed_db: level of what is moved, relative to all of that stem (dB, below 0).
        seed: decides the songs and the stems.
    """

    swaps: float = 0.0
    bleed: float = 0.0
    bleed_db: float = -10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("swaps", "bleed"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"--{key}: {getattr(self, key)} is no share in [0, 1]")
        if not 0 < self.swaps + self.bleed <= 1:
            raise ConfigError(
                f"--swaps, --bleed: {self.swaps} and {self.bleed}; give shares of together more"
                " than 0 and at most 1: a song gets one or the other"
            )
        if not -math.inf < self.bleed_db < 0:
            raise ConfigError(f"--bleed-db: {self.bleed_db} is no attenuation; give less than 0 dB")

    @property
    def gain(self) -> float:
        """Share of a stem's amplitude that is moved."""
        return float(10 ** (self.bleed_db / 20))


def plant_noise(root: Path, out: Path, planting: Planting, progress: bool = True) -> NoiseTruth:
    """Make a copy of a data set in folders with noise in its training songs.

    Files that stay as they are become hard links where the file system allows, else copies: valid
    and test songs, mixtures, and the stems nothing is done to. The copy also gets ``manifest.csv``
    (mss.data.noise_manifest) and ``truth.json`` (mss.data.noise_truth). It is built in a hidden
    folder beside `out` that is renamed at the end. The same seed on the same songs gives the same
    copy.

    Args:
        root: the clean set, see mss.data.folder; nothing in it is changed.
        out: the copy; must not exist yet.
        planting: how much noise.
        progress: show a progress bar, where the standard error is a terminal.

    Raises:
        ConfigError: `out` exists, or lies within `root`.
        DataError: the set is not whole, has too few songs with two audible stems, or can't be
            written.
    """
    _check_place(root, out)
    folders = find_tracks(root)
    if "train" not in folders:
        raise DataError(f"{root}: has no train/ folder, so there is no song to plant noise into")
    stems = discover_stems(folders["train"], MIXTURE)
    planted = _plan(folders["train"], stems, planting)
    prefix = f".{out.name}.planting-"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for leftover in out.parent.glob(f"{prefix}*"):
            logger.warning("%s: removing what an interrupted planting left", leftover)
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent) as temporary:
            building = Path(temporary) / out.name
            songs = [(split, song) for split in folders for song in folders[split]]
            for split, song in tqdm(songs, "plant", disable=None if progress else True):
                action = planted.get(song.name) if split == "train" else None
                told = _write_song(song, building / song.path.relative_to(root), action, planting)
                if action is not None and told is not None:
                    planted[song.name] = told
            names = [song.name for song in folders["train"]]
            truth = NoiseTruth(stems, {name: planted.get(name) for name in names}, asdict(planting))
            write_truth(building / TRUTH, truth)
            write_manifest(building / MANIFEST, _labels(truth, planting))
            os.replace(building, out)
    except OSError as error:
        raise DataError(
            f"{out}: the copy can't be written ({error.strerror or error}); check the folder's"
            " permissions and the free space"
        ) from error
    return truth


def _check_place(root: Path, out: Path) -> None:
    if out.exists():
        raise ConfigError(f"--out: {out} is there already; remove it, or give another folder")
    if root.resolve() in out.resolve().parents:
        raise ConfigError(f"--out: {out} lies within the clean set {root}; give a folder beside it")


def _plan(
    songs: Sequence[TrackFolder], stems: Sequence[str], planting: Planting
) -> dict[str, Planted]:
    """Return what is to be done, by song; songs are taken in a seeded order of their names."""
    swaps, bleeds = (round(share * len(songs)) for share in (planting.swaps, planting.bleed))
    if swaps + bleeds == 0:
        raise ConfigError(f"--swaps, --bleed: not one of {len(songs)} songs; give larger shares")
    ordered = sorted(songs, key=lambda song: derive_seed(planting.seed, "plant", song.name))
    planted: dict[str, Planted] = {}
    for song in ordered:
        if len(planted) == swaps + bleeds:
            break
        files = song.select(stems, MIXTURE)
        audible = [stem for stem in stems if _level_db(files[stem]) > AUDIBLE_DB]
        if len(audible) < 2:
            continue
        generator = numpy_generator(planting.seed, "planted stems", song.name)
        first, second = (audible[index] for index in generator.permutation(len(audible))[:2])
        kind: NoiseKind = "swap" if len(planted) < swaps else "bleed"
        planted[song.name] = Planted(kind, (first, second))
    if len(planted) < swaps + bleeds:
        raise DataError(
            f"only {len(planted)} of {len(songs)} songs have two audible stems (above"
            f" {AUDIBLE_DB:g} dB), and {swaps + bleeds} are to be changed; give smaller shares"
        )
    return planted


def _level_db(path: Path) -> float:
    """Return the RMS of a file over channels and samples, in dB of full scale."""
    total, count = 0.0, 0
    with AudioReader(audio_info(path)) as reader:
        for block in reader.blocks(_BLOCK):
            total += block.double().square().sum().item()
            count += block.numel()
    return 10 * math.log10(total / count) if total else -math.inf


def _write_song(
    song: TrackFolder, folder: Path, planted: Planted | None, planting: Planting
) -> Planted | None:
    """Write a song's folder; return what was done to it, with what is known by now."""
    folder.mkdir(parents=True)
    files = dict(song.files)
    if planted is not None:
        first, second = planted.stems
        if planted.kind == "swap":
            files[first], files[second] = files[second], files[first]
        else:
            level_db = _move(files.pop(first), files.pop(second), planting.gain, folder)
            planted = replace(planted, level_db=round(level_db, 3))
    for stem, path in files.items():
        _link(path, folder / f"{stem}{path.suffix}")
    return planted


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(path, target)


def _move(into: Path, of: Path, gain: float, folder: Path) -> float:
    """Write both stems with `gain` times the one moved into the other.

    Returns:
        The level of what was moved relative to the stem that got it, in dB.

    Raises:
        DataError: the files differ in more than their samples, or hold other than 16, 24 or 32 bits
            (float).
        ConfigError: what would be moved is less than the smallest step of a sample.
    """
    infos = [audio_info(path) for path in (into, of)]
    if len({(info.frames, info.samplerate, info.channels) for info in infos}) > 1:
        raise DataError(f"{into}: has another length, sample rate or channels than {of.name}")
    energies = torch.zeros(2, dtype=torch.float64)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(AudioReader(info)) for info in infos]
        writers = [stack.enter_context(_writer(info, folder)) for info in infos]
        move = functools.partial(_moved, gain=gain, bits=_bits(infos))
        blocks = (reader.blocks(_BLOCK) for reader in readers)
        for held, heard in zip(*blocks, strict=True):
            held, heard = held.double(), heard.double()
            moved = move(held, heard)
            writers[0].write(held + moved)
            writers[1].write(heard - moved)
            energies += torch.stack([moved.square().sum(), held.square().sum()])
    moved_energy, held_energy = energies.tolist()
    if moved_energy == 0:
        raise ConfigError(
            f"--bleed-db: at {20 * math.log10(gain):g} dB nothing of {of} is left but rounding;"
            " give more"
        )
    return 10 * math.log10(moved_energy / held_energy)


def _moved(held: Tensor, heard: Tensor, gain: float, bits: int | None) -> Tensor:
    """Return what moves from the one stem to the other, in whole steps of integer samples.

    It is cut where the stem that gets it would exceed full scale: so the sum stays exact.
    """
    moved = gain * heard
    if bits is None:
        return moved
    step = 2.0 ** (1 - bits)
    return torch.clamp((moved / step).round() * step, -1 - held, 1 - step - held)


def _writer(info: AudioInfo, folder: Path) -> AudioWriter:
    subtype = info.format.rpartition(" ")[2]
    if subtype not in (*_BITS, "FLOAT"):
        raise DataError(
            f"{info.path}: is {info.format}; bleed is planted into files of 16, 24 or 32 bits"
            " (float): convert it with `ffmpeg -i OLD.wav -c:a pcm_s24le NEW.wav`"
        )
    return open_writer(
        folder / info.path.name, info.samplerate, info.channels, subtype, frames=info.frames
    )


def _bits(infos: Sequence[AudioInfo]) -> int | None:
    """Return the bits of the coarsest file's samples; None: both are floating point."""
    subtypes = [info.format.rpartition(" ")[2] for info in infos]
    known = [_BITS[subtype] for subtype in subtypes if subtype in _BITS]
    return min(known, default=None)


def _labels(truth: NoiseTruth, planting: Planting) -> dict[str, SongLabel]:
    return {
        name: SongLabel(clean=planted is None, notes=_notes(planted, planting))
        for name, planted in truth.songs.items()
    }


def _notes(planted: Planted | None, planting: Planting) -> str:
    if planted is None:
        return ""
    first, second = planted.stems
    if planted.kind == "swap":
        return stem_notes({first: f"swapped with {second}", second: f"swapped with {first}"})
    return stem_notes({first: f"bleed of {second} at {planting.bleed_db:g} dB"})
