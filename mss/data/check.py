"""A check of a data set's folder that names every file and fault, not the first one only.

The faults that would stop or spoil a training are errors: a missing or doubled stem, a file that
can't be read to its end, other lengths, sample rates or channels than the track's other files, NaN
or infinite samples, a silent mixture, a mixture that is not the sum of its stems, and the same song
in two splits. A silent stem is a warning (songs without bass exist); clipping is a note.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mss.core.audio_io import AudioInfo, AudioReader, audio_info
from mss.core.errors import DataError
from mss.data.index import in_threads
from mss.data.scan import (
    TrackFolder,
    check_stem_names,
    count_stems,
    find_tracks,
    is_usual,
    odd_stem,
    sort_stems,
)
from mss.data.tracks import MIXTURE

logger = logging.getLogger(__name__)

Severity = Literal["error", "warning", "note"]

_BLOCK = 1 << 16  # samples
_FULL_SCALE = 1 - 2.0**-15  # the largest value of 16 bits
_CLIPPED_RUN = 3  # full-scale samples in a row; one or two may be a normalised peak
_FLOAT_STEP = 2.0**-23


@dataclass(frozen=True)
class Fault:
    """Something wrong, or worth knowing.

    Attributes:
        severity: an "error" spoils a training; a "warning" may be meant; a "note" is a fact.
        track: "train/NAME".
        file: what it is about; the track's folder where a file is missing.
        kind: one or two words.
        message: what is wrong, and what to do.
    """

    severity: Severity
    track: str
    file: Path
    kind: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        faults: in the order of tracks.
        tracks: number of tracks, by split.
        stems: names of the stems.
        seconds: of the tracks that could be read.
        largest_deviation: of any mixture from the sum of its stems (1.0: full scale); None where
            nothing could be compared.
    """

    faults: tuple[Fault, ...]
    tracks: dict[str, int]
    stems: tuple[str, ...]
    seconds: float
    largest_deviation: float | None

    def count(self, severity: Severity) -> int:
        """Number of faults of a severity."""
        return sum(fault.severity == severity for fault in self.faults)


def check_folder(
    root: Path,
    stems: Sequence[str] = (),
    mixture: str = MIXTURE,
    samplerate: int | None = None,
    tolerance: float | None = None,
) -> CheckReport:
    """Check a data set in folders (see mss.data.folder), decoding every file once.

    Args:
        root: as `dset.root`.
        stems: as `dset.stems`; empty: those that most tracks have.
        mixture: as `dset.mixture`.
        samplerate: Hz that files must have; None: the rate that most files have.
        tolerance: how far a mixture may be from the sum of its stems (1.0: full scale); None: one
            quantisation step of each of the files that take part, which covers rounding (half a
            step each) and dither. For 4 stems and a mixture of 16 bits: 5 / 32768.

    Raises:
        DataError: nothing to check.
        ConfigError: stems that can't be meant.
    """
    folders = find_tracks(root)
    everything = [track for tracks in folders.values() for track in tracks]
    names, odd = _expected_stems(everything, stems, mixture)
    checks = [
        _TrackCheck(f"{split}/{track.name}", track, names, mixture)
        for split, tracks in folders.items()
        for track in tracks
    ]
    for check in checks:
        check.open()
        for stem in sorted(odd & set(check.folder.files)):
            message = odd_stem(stem, everything).partition(": ")[2]
            check.add("error", check.folder.files[stem], "odd stem", message)
    _check_rates(checks, samplerate)
    in_threads(lambda check: check.scan(tolerance), checks, "Checking")
    _check_duplicates(checks)
    deviations = [check.deviation for check in checks if check.deviation is not None]
    return CheckReport(
        faults=tuple(fault for check in checks for fault in check.faults),
        tracks={split: len(tracks) for split, tracks in folders.items()},
        stems=names,
        seconds=sum(check.seconds for check in checks),
        largest_deviation=max(deviations, default=None),
    )


def _expected_stems(
    tracks: Sequence[TrackFolder], stems: Sequence[str], mixture: str
) -> tuple[tuple[str, ...], set[str]]:
    """Return the stems that every track should have, and those that too few have."""
    if stems:
        check_stem_names(stems, tracks, mixture)
        return tuple(stems), set()
    counts = count_stems(tracks, mixture)
    usual = {stem for stem, count in counts.items() if is_usual(count, len(tracks))}
    if not usual:
        raise DataError(odd_stem(sort_stems(counts)[0], tracks))
    return sort_stems(usual), set(counts) - usual


@dataclass
class _FileScan:
    """What the samples of one file tell."""

    info: AudioInfo
    frames: int = 0
    peak: float = 0.0
    first_bad: int | None = None  # sample that is not finite
    clipped: int = 0
    failed: bool = False

    def update(self, block: Tensor) -> None:
        """Take in a block [C, T]."""
        finite = torch.isfinite(block)
        if self.first_bad is None and not finite.all():
            self.first_bad = self.frames + int((~finite.all(dim=0)).nonzero()[0])
        self.peak = max(self.peak, block[finite].abs().max().item() if finite.any() else 0.0)
        if self.peak >= _FULL_SCALE and block.shape[-1] >= _CLIPPED_RUN:
            full = block.abs() >= _FULL_SCALE
            self.clipped += int(full.unfold(-1, _CLIPPED_RUN, 1).all(dim=-1).sum())
        self.frames += block.shape[-1]


@dataclass
class _TrackCheck:
    """One track's files, and the faults found in them."""

    label: str
    folder: TrackFolder
    stems: tuple[str, ...]
    mixture: str
    faults: list[Fault] = field(default_factory=list)
    infos: dict[str, AudioInfo] = field(default_factory=dict)
    deviation: float | None = None
    content: str | None = None  # hash of the mixture's (else the first stem's) samples
    seconds: float = 0.0

    def add(self, severity: Severity, file: Path, kind: str, message: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(severity, self.label, file, kind, message))

    def open(self) -> None:
        """Read the headers; files that can't be read take no part in what follows."""
        for stem in self.stems:
            if stem not in self.folder.files:
                message = self.folder.missing(stem).partition(": ")[2]
                self.add("error", self.folder.path, "missing stem", message)
        for path in self.folder.duplicates:
            if path.stem in (*self.stems, self.mixture):
                message = self.folder.ambiguous(path).partition(": ")[2]
                self.add("error", path, "doubled stem", message)
        for stem in (*self.stems, self.mixture):
            if stem not in self.folder.files:
                continue
            path = self.folder.files[stem]
            try:
                info = audio_info(path)
            except DataError as error:
                self.add("error", path, "unreadable", _without_path(error, path))
                continue
            if not info.exact or info.frames is None:
                self.add("error", path, "unreadable", "does not say how long it is; write it anew")
            elif info.frames == 0:
                self.add("error", path, "empty", "holds no samples")
            else:
                self.infos[stem] = info
        self._check_agreement()

    def _check_agreement(self) -> None:
        """Compare the files of the track with what most of them have."""
        frames = _most_common(info.frames for info in self.infos.values())
        channels = _most_common(info.channels for info in self.infos.values())
        for info in self.infos.values():
            if info.frames != frames:
                message = f"has {info.frames} samples, the track's other files {frames}"
                self.add("error", info.path, "length", f"{message}; cut or pad it")
            if info.channels != channels:
                message = f"has {info.channels} channels, the track's other files {channels}"
                self.add("error", info.path, "channels", f"{message}; convert it")

    def scan(self, tolerance: float | None) -> None:
        """Decode every file, side by side."""
        scans = {stem: _FileScan(info) for stem, info in self.infos.items()}
        passes = {stem: self._blocks(scan) for stem, scan in scans.items()}
        digest = hashlib.sha256()
        reference = self.mixture if self.mixture in scans else next(iter(scans), None)
        comparable = self._comparable()
        largest, position = 0.0, 0
        while passes:
            blocks = {stem: next(blocks, None) for stem, blocks in passes.items()}
            for stem, block in blocks.items():
                if block is None:
                    del passes[stem]
                    continue
                scans[stem].update(block)
                if stem == reference:
                    digest.update(block.numpy().tobytes())
            comparable = comparable and not any(scan.failed for scan in scans.values())
            if comparable and passes:
                apart = self._distance({s: b for s, b in blocks.items() if b is not None})
                if apart[0] > largest:
                    largest, position = apart[0], scans[self.mixture].frames - apart[1]
        if comparable:
            self._compare(largest, position, tolerance)
        for stem, scan in scans.items():
            self._judge(stem, scan)
        if reference is not None and scans[reference].peak > 0:
            self.content = digest.hexdigest()
        self.seconds = max((s.frames / s.info.samplerate for s in scans.values()), default=0.0)

    def _blocks(self, scan: _FileScan) -> Iterator[Tensor]:
        """Yield a file's blocks; a decoder that gives up ends them and is a fault."""
        try:
            with AudioReader(scan.info) as reader:
                yield from reader.blocks(_BLOCK)
        except DataError as error:
            scan.failed = True
            self.add("error", scan.info.path, "unreadable", _without_path(error, scan.info.path))

    def _comparable(self) -> bool:
        """Whether the mixture can be compared with the sum: all files are there and agree."""
        shapes = {(i.frames, i.channels, i.samplerate) for i in self.infos.values()}
        return set(self.infos) == {*self.stems, self.mixture} and len(shapes) == 1

    def _distance(self, blocks: dict[str, Tensor]) -> tuple[float, int]:
        """Return the largest |mixture - sum| of a block, and how far it is from the block's end."""
        total = sum((blocks[stem].double() for stem in self.stems), torch.zeros(()).double())
        apart = (blocks[self.mixture].double() - total).abs().amax(dim=0)  # [T]
        apart = torch.nan_to_num(apart, nan=0.0, posinf=0.0)  # those are faults of their own
        where = int(apart.argmax())
        return apart[where].item(), len(apart) - where

    def _compare(self, largest: float, position: int, tolerance: float | None) -> None:
        self.deviation = largest
        if tolerance is None:
            tolerance = sum(_quantisation_step(info) for info in self.infos.values())
        if largest > tolerance:
            self.add(
                "error",
                self.infos[self.mixture].path,
                "not the sum",
                f"differs from the sum of the stems by up to {_level(largest)}, at sample"
                f" {position}; tolerated is {tolerance:.2e}. Training mixes the stems, validation"
                " reads this file: render it from the stems, or remove it",
            )

    def _judge(self, stem: str, scan: _FileScan) -> None:
        path = scan.info.path
        if scan.first_bad is not None:
            self.add(
                "error", path, "NaN", f"sample {scan.first_bad} is NaN or infinite; render it again"
            )
        if scan.frames and scan.peak == 0.0 and scan.first_bad is None:
            if stem == self.mixture:
                self.add("error", path, "silent", "the whole mixture is silent; remove the track")
            else:
                self.add("warning", path, "silent", "the whole stem is silent; is it meant to be?")
        if scan.clipped:
            message = f"clips: {scan.clipped} times {_CLIPPED_RUN} samples in a row at full scale"
            self.add("note", path, "clipping", message)


def _check_rates(checks: Sequence[_TrackCheck], samplerate: int | None) -> None:
    rates = [info.samplerate for check in checks for info in check.infos.values()]
    wanted = samplerate or _most_common(rates)
    for check in checks:
        for info in check.infos.values():
            if info.samplerate != wanted:
                message = f"has {info.samplerate} Hz, not {wanted} Hz"
                remedy = f"`ffmpeg -i OLD.wav -ar {wanted} NEW.wav`"
                check.add("error", info.path, "sample rate", f"{message}; {remedy}")


def _check_duplicates(checks: Sequence[_TrackCheck]) -> None:
    """Find songs that are there twice: in two splits, scores would be of known songs."""
    first: dict[str, _TrackCheck] = {}
    for check in checks:
        if check.content is None:
            continue
        other = first.setdefault(check.content, check)
        if other is not check:
            same_split = other.label.partition("/")[0] == check.label.partition("/")[0]
            message = f"the same recording as {other.label}; remove one"
            severity: Severity = "warning" if same_split else "error"
            check.add(severity, check.folder.path, "duplicate", message)


def _most_common(values: Iterable[int | None]) -> int | None:
    common = Counter(values).most_common(1)
    return common[0][0] if common else None


def _quantisation_step(info: AudioInfo) -> float:
    """Return the step between two values of a file's samples (1.0: full scale)."""
    bits = re.search(r"PCM_[US]?(\d+)", info.format)
    return 2.0 ** (1 - int(bits[1])) if bits else _FLOAT_STEP


def _level(amplitude: float) -> str:
    return f"{amplitude:.2e} ({20 * math.log10(amplitude):.0f} dB of full scale)"


def _without_path(error: DataError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
