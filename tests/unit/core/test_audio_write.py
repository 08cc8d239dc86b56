"""Writing: exactness, clipping, atomicity, formats."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from mss.core import audio_write
from mss.core.audio_io import (
    OUTPUT_FORMATS,
    audio_info,
    format_of,
    open_writer,
    parse_format,
    read_audio,
    write_audio,
)
from mss.core.errors import ConfigError, DataError

RATE = 44100
LOSSLESS = ["wav16", "wav24", "wav", "flac", "flac24"]
LOSSY = ["mp3", "ogg", "opus", "m4a"]


def noise(length: int, channels: int = 2, level: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return level * torch.randn(channels, length, generator=generator)


@pytest.mark.parametrize(
    ("name", "extension", "subtype"),
    [
        ("wav", ".wav", "FLOAT"),
        ("wav16", ".wav", "PCM_16"),
        ("WAV24", ".wav", "PCM_24"),
        ("flac", ".flac", "PCM_16"),
        ("flac24", ".flac", "PCM_24"),
        ("mp3-128", ".mp3", "MPEG_LAYER_III"),
        ("ogg-q6", ".ogg", "VORBIS"),
        ("opus-96", ".opus", "OPUS"),
        ("M4A-256", ".m4a", "AAC"),
    ],
)
def test_format_names(name: str, extension: str, subtype: str) -> None:
    chosen = parse_format(name)
    assert (chosen.extension, chosen.subtype) == (extension, subtype)


WRONG = [
    ("ogg-q11", "qualities 0 to 10, not 11"),
    ("opus-5", "opus has 6 to 512"),
    ("opus-513", "opus has 6 to 512"),
    ("m4a-15", "m4a has 16 to 1152"),
    ("ogg-192", "Did you mean 'ogg"),
]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("flac23", "flac24"), ("wma", "Known|mean"), ("mp3-100", "no 100 kbit/s"), *WRONG],
)
def test_unknown_format_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        parse_format(name)


def test_ending_chooses_the_format() -> None:
    assert format_of("a/b.WAV").subtype == "FLOAT"
    assert format_of("b.flac", "PCM_24").name == "flac24"
    with pytest.raises(ConfigError, match=r"\.flac can't hold FLOAT"):
        format_of("b.flac", "FLOAT")
    with pytest.raises(ConfigError, match=r"can't write '\.wma'"):
        format_of("b.wma")


@pytest.mark.parametrize("name", ["wav16", "flac16"])
def test_all_16_bit_values_survive_bit_exactly(name: str, tmp_path: Path) -> None:
    chosen = parse_format(name)
    original = tmp_path / f"in{chosen.extension}"
    values = np.arange(-32768, 32768, dtype=np.int16)
    soundfile.write(original, values, RATE, subtype="PCM_16")
    audio, samplerate = read_audio(original)
    copy = tmp_path / f"out{chosen.extension}"
    writer = write_audio(copy, audio, samplerate, chosen)
    assert np.array_equal(soundfile.read(copy, dtype="int16")[0], values)
    assert writer.clipped == 0
    assert writer.peak == 1.0


@pytest.mark.parametrize("name", ["wav24", "flac24"])
def test_24_bit_values_survive_bit_exactly(name: str, tmp_path: Path) -> None:
    chosen = parse_format(name)
    original = tmp_path / f"in{chosen.extension}"
    edges = [-(2**23), -(2**23) + 1, -1, 0, 1, 2**23 - 2, 2**23 - 1]
    drawn = np.random.default_rng(0).integers(-(2**23), 2**23, 5000)
    values = np.concatenate([edges, drawn]).astype(np.int32) << 8
    soundfile.write(original, values, RATE, subtype="PCM_24")
    copy = tmp_path / f"out{chosen.extension}"
    write_audio(copy, read_audio(original)[0], RATE, chosen)
    assert np.array_equal(soundfile.read(copy, dtype="int32")[0], values)


def test_float_wav_is_exact_beyond_full_scale(tmp_path: Path) -> None:
    audio = noise(1000, level=3)
    writer = write_audio(tmp_path / "x.wav", audio, RATE)
    assert torch.equal(read_audio(tmp_path / "x.wav")[0], audio)
    assert writer.clipped == 0
    assert writer.peak == audio.abs().max()


@pytest.mark.parametrize("name", ["wav16", "wav24", "flac", "flac24"])
def test_integers_round_to_nearest_and_never_wrap(name: str, tmp_path: Path) -> None:
    chosen = parse_format(name)
    full = 2 ** (15 if chosen.subtype == "PCM_16" else 23)
    steps = torch.tensor([[0.4, 0.6, -0.4, -0.6, 0.5, 1.5, full * 1.5, -full * 1.5, full, -full]])
    path = tmp_path / f"x{chosen.extension}"
    writer = write_audio(path, steps / full, RATE, chosen)
    written = read_audio(path)[0] * full
    assert written.tolist() == [[0, 1, 0, -1, 0, 2, full - 1, -full, full - 1, -full]]
    assert writer.clipped == 2  # full scale itself is not beyond full scale
    assert writer.peak == 1.5


@pytest.mark.parametrize("name", [*OUTPUT_FORMATS, "mp3-128"])
def test_streamed_and_whole_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    chosen = parse_format(name)
    audio, rate = noise(20_011), 48000  # Opus has no 44.1 kHz
    paths = [tmp_path / f"{part}{chosen.extension}" for part in ("whole", "streamed")]
    write_audio(paths[0], audio, rate, chosen)
    with open_writer(paths[1], rate, 2, chosen) as writer:
        for block in torch.split(audio, [1, 0, 9999, 10_011], dim=-1):
            writer.write(block)
    assert writer.frames == 20_011
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_float_wav_holds_no_time_of_day(tmp_path: Path) -> None:
    write_audio(tmp_path / "x.wav", noise(100), RATE, "FLOAT")
    content = (tmp_path / "x.wav").read_bytes()
    peak = content.index(b"PEAK")
    assert content[peak + 12 : peak + 16] == bytes(4)


@pytest.mark.parametrize("kbps", [320, 192, 128, 32])
@pytest.mark.parametrize("samplerate", [44100, 48000])
def test_mp3_bit_rate_and_length(kbps: int, samplerate: int, tmp_path: Path) -> None:
    seconds, path = 3, tmp_path / "x.mp3"
    audio = noise(seconds * samplerate)
    write_audio(path, audio, samplerate, parse_format(f"mp3-{kbps}"))
    measured = path.stat().st_size * 8 / seconds / 1000
    assert kbps <= measured < 1.03 * kbps  # a few frames for delay and header
    decoded, rate = read_audio(path)
    assert rate == samplerate
    if kbps > 32:  # a frame of 32 kbit/s has no room for the header that holds the length
        assert decoded.shape == audio.shape
    if kbps == 320:
        # White noise above 20 kHz is not kept: 10 % of its power, and some noise of the codec.
        assert (decoded - audio).pow(2).mean() < 0.2 * audio.pow(2).mean()


def test_default_mp3_takes_the_highest_rate_of_low_sample_rates(tmp_path: Path) -> None:
    write_audio(tmp_path / "x.mp3", noise(22050 * 2), 22050, parse_format("mp3"))
    measured = (tmp_path / "x.mp3").stat().st_size * 8 / 2 / 1000
    assert 160 <= measured < 170


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_empty_audio_gives_a_valid_file(name: str, channels: int, tmp_path: Path) -> None:
    chosen = parse_format(name)
    path = tmp_path / f"x{chosen.extension}"
    writer = write_audio(path, torch.zeros(channels, 0), 48000, chosen)
    assert (writer.frames, writer.peak, writer.clipped) == (0, 0.0, 0)
    audio, samplerate = read_audio(path)
    assert audio.shape == (channels, 0)
    assert samplerate == 48000


@pytest.mark.parametrize("name", ["mp3", "opus", "m4a"])
def test_empty_audio_of_a_lossy_format_holds_one_silent_sample(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{name}"
    writer = write_audio(path, torch.zeros(2, 0), 48000, parse_format(name))
    assert writer.frames == 0
    audio, _ = read_audio(path)
    assert audio.shape == (2, 1)
    assert audio.abs().max() < 1e-4


def test_ogg_can_be_empty(tmp_path: Path) -> None:
    write_audio(tmp_path / "x.ogg", torch.zeros(2, 0), RATE)
    assert read_audio(tmp_path / "x.ogg")[0].shape == (2, 0)


def tones(length: int, channels: int, rate: int) -> torch.Tensor:
    """Another tone in each channel, [C, T]."""
    time = torch.arange(length, dtype=torch.float64) / rate
    return torch.stack(
        [0.3 * torch.sin(2 * torch.pi * (1000 + 500 * c) * time) for c in range(channels)]
    ).float()


@pytest.mark.parametrize("name", [*LOSSY, "m4a-128", "opus-64", "ogg-q0", "mp3-128"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("length", [1, 700, 1024, 1025, 48_011])
def test_lossy_formats_give_back_every_sample_in_its_place(
    name: str, channels: int, length: int, tmp_path: Path
) -> None:
    chosen, rate = parse_format(name), 48000
    path = tmp_path / f"x: 1{chosen.extension}"
    audio = tones(length, channels, rate)
    write_audio(path, audio, rate, chosen)
    read, samplerate = read_audio(path)
    assert samplerate == rate
    assert read.shape == audio.shape
    if length > 5000:
        inner = slice(2000, length - 2000)  # codecs smear the edges
        error = (read - audio)[:, inner].square().sum(dim=-1)
        # a shift by one sample would leave 18 dB of 1 kHz; channels in another order, none
        assert (error < 0.01 * audio[:, inner].square().sum(dim=-1)).all()


@pytest.mark.parametrize("samplerate", [7350, 11025, 22050, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_default_rates_suit_any_sample_rate(samplerate: int, channels: int, tmp_path: Path) -> None:
    audio = tones(9000, channels, samplerate)
    for ending in ("m4a", "ogg"):
        write_audio(tmp_path / f"x.{ending}", audio, samplerate)
        assert read_audio(tmp_path / f"x.{ending}")[0].shape == audio.shape


@pytest.mark.parametrize("name", ["m4a-192", "opus-96"])
def test_bit_rate_is_what_was_asked_for(name: str, tmp_path: Path) -> None:
    chosen, seconds = parse_format(name), 5
    path = tmp_path / f"x{chosen.extension}"
    write_audio(path, noise(seconds * 48000), 48000, chosen)
    measured = path.stat().st_size * 8 / seconds / 1000
    assert chosen.kbps is not None
    assert 0.9 * chosen.kbps < measured < 1.15 * chosen.kbps


def test_higher_qualities_of_vorbis_are_larger(tmp_path: Path) -> None:
    sizes = []
    for quality in (0, 5, 10):
        path = tmp_path / f"{quality}.ogg"
        write_audio(path, noise(RATE), RATE, parse_format(f"ogg-q{quality}"))
        sizes.append(path.stat().st_size)
    assert sizes[0] < 0.7 * sizes[1] < 0.5 * sizes[2]


def test_ogg_streams_of_different_audio_have_different_numbers(tmp_path: Path) -> None:
    # joined to one file (RFC 3533, section 4), they must be told apart
    numbers = []
    for level in (0.1, 0.2):
        write_audio(tmp_path / "x.ogg", noise(RATE, level=level), RATE)
        content = (tmp_path / "x.ogg").read_bytes()
        pages = [i for i in range(len(content)) if content.startswith(b"OggS", i)]
        found = {content[page + 14 : page + 18] for page in pages}
        assert len(found) == 1 < len(pages)
        numbers.append(found.pop())
    assert numbers[0] != numbers[1]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("name", ["wav", "flac", *LOSSY])
def test_an_interrupted_file_never_appears(
    error: type[BaseException], name: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x.{name}"
    path.write_bytes(b"before")
    with pytest.raises(error), open_writer(path, 48000, 2, parse_format(name)) as writer:  # noqa: PT012
        writer.write(noise(1000))
        assert path.read_bytes() == b"before"
        raise error
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_samples_are_refused(value: float, tmp_path: Path) -> None:
    audio = noise(100)
    audio[0, 50] = value
    with pytest.raises(DataError, match=r"x\.wav.*NaN or an infinity"):
        write_audio(tmp_path / "x.wav", audio, RATE, "PCM_16")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "samplerate", "channels", "fault"),
    [
        ("x.mp3", 96000, 2, "MP3 has no 96000 Hz"),
        ("x.mp3", 44100, 6, "1 or 2 channels"),
        ("x.flac", 44100, 9, "up to 8 channels"),
        ("x.flac", 700_000, 2, "655350 Hz"),
        ("x.wav", 0, 2, "positive"),
        ("x.ogg", 384_000, 2, "only 1000 to 200000 Hz"),
        ("x.ogg", 44100, 6, "1 or 2 channels"),
        ("x.opus", 44100, 2, "Opus has no 44100 Hz.*ogg"),
        ("x.opus", 48000, 3, "1 or 2 channels"),
        ("x.m4a", 192_000, 2, "has no 192000 Hz"),
        ("x.m4a", 44100, 6, "1 or 2 channels"),
    ],
)
def test_what_a_format_cannot_hold(
    name: str, samplerate: int, channels: int, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=fault):
        open_writer(tmp_path / name, samplerate, channels)


@pytest.mark.parametrize(
    ("name", "samplerate", "channels", "fault"),
    [
        ("m4a-300", 44100, 1, "16 to 264 kbit/s"),
        ("m4a-128", 8000, 2, "16 to 96 kbit/s"),
        ("opus-300", 48000, 1, "6 to 256 kbit/s"),
        ("opus-8", 48000, 2, "12 to 512 kbit/s"),
        ("mp3-320", 44100, 3, "1 or 2 channels"),
        ("mp3-192", 22050, 2, "no 192 kbit/s"),
    ],
)
def test_what_a_bit_rate_cannot_serve(
    name: str, samplerate: int, channels: int, fault: str, tmp_path: Path
) -> None:
    chosen = parse_format(name)
    with pytest.raises(ConfigError, match=fault):
        open_writer(tmp_path / f"x{chosen.extension}", samplerate, channels, chosen)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits the size of files by POSIX means")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    program = f"""
import resource, signal, torch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from mss.core.audio_io import write_audio
from mss.core.errors import DataError
for ending in {LOSSY}:
    try:
        write_audio({str(tmp_path)!r} + "/x." + ending, 0.1 * torch.randn(2, 480_000), 48000)
    except DataError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    faults = done.stdout.splitlines()
    assert len(faults) == len(LOSSY), done.stderr
    assert all(f"x.{e}: can't be written" in fault for e, fault in zip(LOSSY, faults, strict=True))
    assert os.listdir(tmp_path) == []


class FullEncoder:
    """Fails as libsndfile does on a full disk: without saying why."""

    def __init__(self, at: str) -> None:
        self.at = at

    def write(self, samples: object) -> None:
        if self.at == "write":
            raise soundfile.LibsndfileError(2)

    def close(self) -> None:
        if self.at == "close":
            raise soundfile.LibsndfileError(2)


@pytest.mark.parametrize("at", ["write", "close"])
@pytest.mark.parametrize(
    ("left", "fault"), [(0, "No space left on device"), (1 << 30, "System error")]
)
def test_libsndfile_does_not_say_that_the_disk_is_full(
    at: str, left: int, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(folder: Path) -> SimpleNamespace:
        # what the temporary file takes is free again as soon as that is removed
        return SimpleNamespace(free=left if os.listdir(folder) else 1 << 30)

    monkeypatch.setattr(audio_write, "open_encoder", lambda *_: FullEncoder(at))
    monkeypatch.setattr(audio_write.shutil, "disk_usage", usage)
    with pytest.raises(DataError, match=rf"x\.wav: can't be written \({fault}"):
        write_audio(tmp_path / "x.wav", noise(10), RATE)
    assert os.listdir(tmp_path) == []


def test_ending_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.flac"):
        open_writer(tmp_path / "x.wav", RATE, 2, parse_format("flac"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"x\.wav: can't be written"):
        write_audio(tmp_path / "file" / "x.wav", noise(10), RATE)


def test_a_wav_past_4_gb_becomes_rf64_when_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_write, "MAX_WAV_BYTES", 4000)
    audio = noise(2000)
    path = tmp_path / "x.wav"
    write_audio(path, audio, RATE, "FLOAT")
    assert audio_info(path).format == "RF64 FLOAT"
    assert torch.equal(read_audio(path)[0], audio)
    with (
        pytest.raises(DataError, match="at most 4 GB"),
        open_writer(tmp_path / "y.wav", RATE, 2, "FLOAT") as writer,
    ):
        writer.write(audio)
    assert not (tmp_path / "y.wav").exists()
