"""The formats that audio is written in, and what each can hold."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from mss.core.errors import ConfigError, nearest_name_hint

# kbit/s of MPEG-1 layer III (32, 44.1, 48 kHz) and of MPEG-2 and 2.5 (lower rates), ISO 11172-3
# and 13818-3.
_MPEG1_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_FLAC_MAX_CHANNELS = 8
_FLAC_MAX_RATE = 655_350  # Hz


@dataclass(frozen=True)
class OutputFormat:
    """How audio is written.

    Attributes:
        name: what the user calls it, such as "wav24" or "mp3-192".
        container: "WAV", "FLAC" or "MP3".
        subtype: "PCM_16", "PCM_24", "FLOAT" or "MPEG_LAYER_III" (libsndfile's names).
        kbps: bit rate of an MP3, kbit/s.
    """

    name: str
    container: str
    subtype: str
    kbps: int | None = None

    @property
    def extension(self) -> str:
        """Ending of the file name, with its dot."""
        return f".{self.container.lower()}"

    @property
    def limits(self) -> bool:
        """Whether samples beyond full scale (1.0) are cut off."""
        return self.subtype != "FLOAT"


_MP3 = OutputFormat("mp3", "MP3", "MPEG_LAYER_III", 320)
OUTPUT_FORMATS: dict[str, OutputFormat] = {
    "wav": OutputFormat("wav", "WAV", "FLOAT"),
    "wav32": OutputFormat("wav32", "WAV", "FLOAT"),
    "wav24": OutputFormat("wav24", "WAV", "PCM_24"),
    "wav16": OutputFormat("wav16", "WAV", "PCM_16"),
    "flac": OutputFormat("flac", "FLAC", "PCM_16"),
    "flac16": OutputFormat("flac16", "FLAC", "PCM_16"),
    "flac24": OutputFormat("flac24", "FLAC", "PCM_24"),
    "mp3": _MP3,
}


def parse_format(name: str) -> OutputFormat:
    """Return the format of a name.

    wav or wav32 (float32: never clips), wav24, wav16, flac or flac16, flac24, mp3 (320 kbit/s),
    mp3-RATE with RATE in kbit/s.

    >>> parse_format("wav24").subtype, parse_format("mp3-192").kbps
    ('PCM_24', 192)

    Raises:
        ConfigError: no such format.
    """
    key = name.strip().lower()
    if key in OUTPUT_FORMATS:
        return OUTPUT_FORMATS[key]
    if match := re.fullmatch(r"mp3-(\d{1,3})", key):
        kbps = int(match[1])
        if kbps not in _MPEG1_KBPS + _MPEG2_KBPS:
            raise ConfigError(
                f"format {name!r}: MP3 has no {kbps} kbit/s. Choose one of"
                f" {', '.join(map(str, _MPEG1_KBPS))}."
            )
        return replace(_MP3, name=key, kbps=kbps)
    raise ConfigError(
        f"format {name!r} is unknown.{nearest_name_hint(key, [*OUTPUT_FORMATS, 'mp3-192'])}"
    )


def format_of(path: str | os.PathLike[str], subtype: str | None = None) -> OutputFormat:
    """Return the format that a file name's ending asks for: .wav (float32), .flac (16 bits), .mp3.

    Args:
        path: the file.
        subtype: PCM_16, PCM_24 or FLOAT, where the ending leaves a choice.

    Raises:
        ConfigError: another ending, or a subtype that it can't hold.
    """
    ending = Path(path).suffix.lower()
    matching = [f for f in OUTPUT_FORMATS.values() if f.extension == ending]
    if not matching:
        endings = sorted({f.extension for f in OUTPUT_FORMATS.values()})
        raise ConfigError(
            f"{path}: can't write {ending or 'no ending'!r}. Use {', '.join(endings)}."
        )
    if subtype is None:
        return matching[0]
    for candidate in matching:
        if candidate.subtype == subtype:
            return candidate
    subtypes = ", ".join(sorted({f.subtype for f in matching}))
    raise ConfigError(f"{path}: {ending} can't hold {subtype}. Use {subtypes}.")


def check_format(path: Path, samplerate: int, channels: int, format: OutputFormat) -> None:
    """Raise a ConfigError where the format, or the ending of `path`, can't hold this."""
    if path.suffix.lower() != format.extension:
        raise ConfigError(f"{path}: a {format.name} file must end in {format.extension}.")
    if samplerate < 1 or channels < 1:
        raise ConfigError(
            f"{path}: {samplerate} Hz and {channels} channels: both must be positive."
        )
    if format.container == "MP3":
        if samplerate not in _MP3_RATES:
            raise ConfigError(
                f"{path}: MP3 has no {samplerate} Hz. Use wav or flac, or one of"
                f" {', '.join(map(str, _MP3_RATES))} Hz."
            )
        if channels > 2:
            raise ConfigError(
                f"{path}: MP3 holds 1 or 2 channels, not {channels}. Use wav or flac."
            )
        compression_level(samplerate, format.kbps)
    if format.container == "FLAC":
        if channels > _FLAC_MAX_CHANNELS:
            raise ConfigError(f"{path}: FLAC holds up to 8 channels, not {channels}. Use wav.")
        if samplerate > _FLAC_MAX_RATE:
            raise ConfigError(f"{path}: FLAC holds up to {_FLAC_MAX_RATE} Hz. Use wav.")


def compression_level(samplerate: int, kbps: int | None) -> float | None:
    """Return libsndfile's level for an MP3 bit rate: linear, 0 the highest rate, 1 the lowest.

    The default rate of 320 is lowered to the highest that the sample rate knows.
    """
    if kbps is None:
        return None
    known: tuple[int, ...]
    if samplerate >= 32000:
        known = _MPEG1_KBPS
    elif samplerate >= 16000:
        known = _MPEG2_KBPS
    else:
        known = tuple(rate for rate in _MPEG2_KBPS if rate <= 64)
    if kbps == _MP3.kbps:
        kbps = known[-1]
    if kbps not in known:
        raise ConfigError(
            f"mp3-{kbps}: an MP3 of {samplerate} Hz has no {kbps} kbit/s. Choose one of"
            f" {', '.join(map(str, known))}."
        )
    # libsndfile refuses exactly 1.
    return min((known[-1] - kbps) / (known[-1] - known[0]), 0.9999)
