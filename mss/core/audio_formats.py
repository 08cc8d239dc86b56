"""The formats that audio is written in, and what each can hold."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mss.core.errors import ConfigError, nearest_name_hint

# kbit/s of MPEG-1 layer III (32, 44.1, 48 kHz) and of MPEG-2 and 2.5 (lower rates), ISO 11172-3
# and 13818-3.
_MPEG1_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)

# libvorbis has set-ups for up to 200 kHz; libsndfile crashes where it has none.
_VORBIS_RATES = range(1000, 200_001)
_VORBIS_QUALITIES = range(11)

_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_OPUS_KBPS_A_CHANNEL = (6, 256)  # the ends of libsndfile's scale

_AAC_RATES = (
    *(7350, 8000, 11025, 12000, 16000, 22050, 24000),
    *(32000, 44100, 48000, 64000, 88200, 96000),
)
_AAC_BITS_A_SAMPLE = 6  # a frame of 1024 samples has at most 6144 bits a channel (ISO 14496-3)
_AAC_MIN_KBPS = 16


@dataclass(frozen=True)
class OutputFormat:
    """How audio is written.

    Attributes:
        name: what the user calls it, such as "wav24" or "mp3-192".
        container: "WAV", "FLAC", "MP3", "OGG" or "M4A".
        subtype: "PCM_16", "PCM_24", "FLOAT", "MPEG_LAYER_III", "VORBIS", "OPUS" (libsndfile's
            names) or "AAC".
        kbps: bit rate of all channels together, kbit/s, where the encoder is told one.
        quality: of Vorbis, 0 to 10.
    """

    name: str
    container: str
    subtype: str
    kbps: int | None = None
    quality: int | None = None

    @property
    def extension(self) -> str:
        """Ending of the file name, with its dot."""
        return ".opus" if self.subtype == "OPUS" else f".{self.container.lower()}"

    @property
    def limits(self) -> bool:
        """Whether samples beyond full scale (1.0) are cut off, here or by players."""
        return self.subtype != "FLOAT"


_MP3 = OutputFormat("mp3", "MP3", "MPEG_LAYER_III", kbps=320)
_OGG = OutputFormat("ogg", "OGG", "VORBIS", quality=8)
_OPUS = OutputFormat("opus", "OGG", "OPUS", kbps=192)
_M4A = OutputFormat("m4a", "M4A", "AAC", kbps=256)
OUTPUT_FORMATS: dict[str, OutputFormat] = {
    "wav": OutputFormat("wav", "WAV", "FLOAT"),
    "wav32": OutputFormat("wav32", "WAV", "FLOAT"),
    "wav24": OutputFormat("wav24", "WAV", "PCM_24"),
    "wav16": OutputFormat("wav16", "WAV", "PCM_16"),
    "flac": OutputFormat("flac", "FLAC", "PCM_16"),
    "flac16": OutputFormat("flac16", "FLAC", "PCM_16"),
    "flac24": OutputFormat("flac24", "FLAC", "PCM_24"),
    "mp3": _MP3,
    "ogg": _OGG,
    "opus": _OPUS,
    "m4a": _M4A,
}


@dataclass(frozen=True)
class _Limits:
    """What a format holds: sample rates in Hz, and up to so many channels."""

    label: str
    rates: Sequence[int]
    channels: int
    instead: str = "wav or flac"


# Vorbis and Opus order more than two channels their own way, which libsndfile leaves to its caller.
_LIMITS = {
    ".flac": _Limits("FLAC", range(1, 655_351), 8, "wav"),
    ".mp3": _Limits("MP3", _MP3_RATES, 2),
    ".ogg": _Limits("Ogg Vorbis", _VORBIS_RATES, 2),
    ".opus": _Limits("Opus", _OPUS_RATES, 2, "wav, flac, ogg or m4a"),
    ".m4a": _Limits("M4A (AAC)", _AAC_RATES, 2),
}


def parse_format(name: str) -> OutputFormat:
    """Return the format of a name.

    wav or wav32 (float32: never clips), wav24, wav16, flac or flac16, flac24; and with loss mp3
    (320 kbit/s), ogg (Vorbis of quality 8, about 256 kbit/s), opus (192 kbit/s), m4a (AAC of 256
    kbit/s), or mp3-RATE, opus-RATE, m4a-RATE with RATE in kbit/s, ogg-qN with N from 0 to 10.

    >>> parse_format("wav24").subtype, parse_format("mp3-192").kbps
    ('PCM_24', 192)

    Raises:
        ConfigError: no such format.
    """
    key = name.strip().lower()
    if key in OUTPUT_FORMATS:
        return OUTPUT_FORMATS[key]
    if match := re.fullmatch(r"(mp3|opus|m4a)-(\d{1,4})", key):
        kbps = int(match[2])
        _check_kbps(name, match[1], kbps)
        return replace(OUTPUT_FORMATS[match[1]], name=key, kbps=kbps)
    if match := re.fullmatch(r"ogg-q(\d{1,3})", key):
        quality = int(match[1])
        if quality not in _VORBIS_QUALITIES:
            raise ConfigError(f"format {name!r}: Vorbis has the qualities 0 to 10, not {quality}.")
        return replace(_OGG, name=key, quality=quality)
    known = [*OUTPUT_FORMATS, "mp3-192", "ogg-q6", "opus-128", "m4a-192"]
    raise ConfigError(f"format {name!r} is unknown.{nearest_name_hint(key, known)}")


def _check_kbps(name: str, codec: str, kbps: int) -> None:
    """Refuse a bit rate that no sample rate and no number of channels allows."""
    if codec == "mp3":
        if kbps not in _MPEG1_KBPS + _MPEG2_KBPS:
            raise ConfigError(
                f"format {name!r}: MP3 has no {kbps} kbit/s. Choose one of"
                f" {', '.join(map(str, _MPEG1_KBPS))}."
            )
        return
    low, high = _OPUS_KBPS_A_CHANNEL if codec == "opus" else (_AAC_MIN_KBPS, _max_aac_kbps(96000))
    if not low <= kbps <= 2 * high:
        raise ConfigError(f"format {name!r}: {kbps} kbit/s; {codec} has {low} to {2 * high}.")


def format_of(path: str | os.PathLike[str], subtype: str | None = None) -> OutputFormat:
    """Return the format that a file name's ending asks for, such as .wav (float32) or .flac (16).

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
    limits = _LIMITS.get(format.extension)
    if limits is None:
        return
    if samplerate not in limits.rates:
        if isinstance(limits.rates, range):
            known = f"only {limits.rates[0]} to {limits.rates[-1]} Hz. Use {limits.instead}."
        else:
            listed = ", ".join(map(str, limits.rates))
            known = f"only {listed} Hz. Use {limits.instead}."
        raise ConfigError(f"{path}: {limits.label} has no {samplerate} Hz, {known}")
    if channels > limits.channels:
        held = "1 or 2" if limits.channels == 2 else f"up to {limits.channels}"
        raise ConfigError(
            f"{path}: {limits.label} holds {held} channels, not {channels}. Use {limits.instead}."
        )
    if format.container == "M4A":
        aac_bit_rate(format, samplerate, channels)
    else:
        compression_level(format, samplerate, channels)


def compression_level(format: OutputFormat, samplerate: int, channels: int) -> float | None:
    """Return libsndfile's level: 0 the best, 1 the smallest, linear between; None: it is told none.

    Raises:
        ConfigError: the sample rate (Hz) or the number of channels has no such bit rate.
    """
    if format.quality is not None:
        return 1 - format.quality / _VORBIS_QUALITIES[-1]
    if format.kbps is None:
        return None
    if format.subtype == "OPUS":
        low, high = (channels * limit for limit in _OPUS_KBPS_A_CHANNEL)
        kbps = _within(format, low, high, f"Opus of {channels} channels", default=_OPUS)
        return (high - kbps) / (high - low)
    return _mp3_level(samplerate, format.kbps)


def aac_bit_rate(format: OutputFormat, samplerate: int, channels: int) -> int:
    """Return the bit rate of an M4A in bit/s; the default is lowered to what the rate can take.

    Raises:
        ConfigError: the sample rate (Hz) or the number of channels has no such bit rate.
    """
    high = channels * _max_aac_kbps(samplerate)
    what = f"AAC of {samplerate} Hz and {channels} channels"
    return 1000 * _within(format, _AAC_MIN_KBPS, high, what, default=_M4A)


def _max_aac_kbps(samplerate: int) -> int:
    return _AAC_BITS_A_SAMPLE * samplerate // 1000


def _within(format: OutputFormat, low: int, high: int, what: str, default: OutputFormat) -> int:
    """Return the bit rate of a format, kbit/s; the default's is moved into the bounds."""
    assert format.kbps is not None
    if low <= format.kbps <= high:
        return format.kbps
    if format.kbps == default.kbps:
        return min(max(format.kbps, low), high)
    raise ConfigError(f"{format.name}: {what} has {low} to {high} kbit/s, not {format.kbps}.")


def _mp3_level(samplerate: int, kbps: int) -> float:
    """Return the level of an MP3; the default of 320 is lowered to the highest that there is."""
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
