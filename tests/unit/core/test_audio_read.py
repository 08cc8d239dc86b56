"""Reading: information, excerpts, streams."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch
from mutagen.mp4 import MP4, MP4FreeForm

from mss.core.audio_io import audio_info, open_reader, read_audio
from mss.core.errors import DataError

RATE = 44100
LENGTH = 30_011  # not a multiple of any codec's frame


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    """Two sines with some noise, [C, T], at an amplitude that a codec doesn't clip."""
    time = np.arange(LENGTH) / RATE
    tones = np.stack([np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 660 * time)])
    return (0.4 * tones + 0.01 * np.random.default_rng(0).standard_normal(tones.shape)).astype(
        np.float32
    )


def encode(path: Path, codec: str, *signals: np.ndarray, rate: int = RATE, **options: str) -> None:
    """Write each signal [C, T] as an audio stream of a file, by FFmpeg."""
    with av.open(str(path), "w", options=options) as container:
        streams: list[Any] = [
            container.add_stream(codec, rate=rate, layout="mono" if len(s) == 1 else "stereo")
            for s in signals
        ]
        for stream, samples in zip(streams, signals, strict=True):
            layout = "mono" if len(samples) == 1 else "stereo"
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples), format="fltp", layout=layout
            )
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
            sample_format = stream.codec_context.format
            resampler = av.AudioResampler(sample_format, layout, rate, frame_size=1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))


def encode_video(path: Path, signal: np.ndarray) -> None:
    """Write a video of black pictures with AAC sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="stereo")
        for _ in range(7):
            image = np.zeros((32, 32, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        for first in range(0, signal.shape[1], 1024):
            piece = np.ascontiguousarray(signal[:, first : first + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE, first
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def write_wav(path: Path, signal: np.ndarray) -> None:
    soundfile.write(path, signal.T, RATE, subtype="PCM_16")


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "wav": write_wav,
    "flac": lambda path, x: soundfile.write(path, x.T, RATE),
    "aiff": lambda path, x: soundfile.write(path, x.T, RATE),
    "ogg": lambda path, x: soundfile.write(path, x.T, RATE),
    "mp3": lambda path, x: soundfile.write(
        path, x.T, RATE, bitrate_mode="VARIABLE", compression_level=0.8
    ),
    "m4a": lambda path, x: encode(path, "aac", x),
    "mp4": encode_video,
    "mkv": lambda path, x: encode(path, "pcm_s16le", x),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, signal: np.ndarray) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("audio")
    paths = {ending: folder / f"a song: one.{ending}" for ending in WRITERS}
    for ending, path in paths.items():
        WRITERS[ending](path, signal)
    return paths


@pytest.mark.parametrize("ending", WRITERS)
def test_length_and_waveform_are_those_written(
    ending: str, files: dict[str, Path], signal: np.ndarray
) -> None:
    audio, samplerate = read_audio(files[ending])
    assert samplerate == RATE
    assert audio.dtype == torch.float32
    # The encoder's delay is gone, and its padding, but for an MP4's last frame.
    assert audio.shape[0] == 2
    assert 0 <= audio.shape[1] - LENGTH <= (1023 if ending in ("m4a", "mp4") else 0)
    inner = slice(3000, LENGTH - 3000)  # lossy codecs smear the edges
    audio = audio[:, :LENGTH]
    error = audio[:, inner] - torch.from_numpy(signal)[:, inner]
    lossless = ending in ("wav", "flac", "aiff", "mkv")
    # 16 bits round by half a step or floor by a step; the codecs here reach better than 20 dB,
    # which a shift by a single sample (63e-3 at 440 Hz, 23 dB) would already disturb.
    assert error.abs().max() < (1.1 / 32768 if lossless else 0.06)
    tone = np.abs(np.fft.rfft(audio[0].numpy() * np.hanning(LENGTH)))
    assert abs(tone.argmax() * RATE / LENGTH - 440) < RATE / LENGTH


@pytest.mark.parametrize("ending", WRITERS)
def test_info_before_decoding(ending: str, files: dict[str, Path]) -> None:
    info = audio_info(files[ending])
    assert (info.samplerate, info.channels) == (RATE, 2)
    assert info.exact == (ending in ("wav", "flac", "aiff", "ogg"))
    assert info.decoder == ("ffmpeg" if ending in ("m4a", "mp4", "mkv") else "soundfile")
    assert info.frames is not None
    assert abs(info.frames - LENGTH) <= (0 if info.exact else 2304)
    assert info.seconds is not None
    assert math.isclose(info.seconds, LENGTH / RATE, abs_tol=0.06)


def test_excerpts_at_the_end_of_an_ogg_are_slices_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    samples = 0.1 * np.random.default_rng(0).standard_normal((300_011, 2))
    soundfile.write(path, samples, RATE)
    whole, _ = read_audio(path)
    for start in (200_000, 290_000, 296_908, 299_907, 300_010):  # the last page starts at 296_000
        excerpt, _ = read_audio(path, start, 500)
        assert torch.equal(excerpt, whole[:, start : start + 500])


def test_seeking_far_from_the_end_of_a_long_ogg_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    block = (0.1 * np.random.default_rng(0).standard_normal((40_000, 1))).astype(np.float32)
    with soundfile.SoundFile(path, "w", 8000, 1, format="OGG", subtype="VORBIS") as handle:
        for _ in range(40):
            handle.write(block)
    whole, _ = read_audio(path)
    assert whole.shape[1] == 1_600_000
    for start in (400_000, 555_519, 555_521, 1_599_000):  # from 555_520 on it reads from there
        excerpt, _ = read_audio(path, start, 2000)
        assert torch.equal(excerpt, whole[:, start : start + 2000])


@pytest.mark.parametrize("edit_list", [True, False])
def test_an_mp4_that_counts_in_samples_is_cut_to_its_length(
    edit_list: bool, tmp_path: Path, signal: np.ndarray
) -> None:
    path = tmp_path / "x.m4a"
    options = {"movie_timescale": str(RATE)} | ({} if edit_list else {"use_editlist": "0"})
    encode(path, "aac", signal, **options)
    audio, _ = read_audio(path)
    # without an edit list, the priming is part of the audio
    assert audio.shape[1] == LENGTH + (0 if edit_list else 1024)
    assert audio_info(path).frames == audio.shape[1]


def test_an_mp4_in_fragments_is_read_to_its_end(tmp_path: Path, signal: np.ndarray) -> None:
    path = tmp_path / "x.m4a"
    encode(path, "aac", signal, movie_timescale=str(RATE), movflags="frag_keyframe+empty_moov")
    assert LENGTH <= read_audio(path)[0].shape[1] < LENGTH + 2048


def test_metadata_that_is_not_unicode_does_not_stop_ffmpeg(
    tmp_path: Path, signal: np.ndarray
) -> None:
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "MARK"
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 99), np.int16), layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
    path.write_bytes(path.read_bytes().replace(b"MARK", b"\xfc\xff\xfe\xe9"))
    assert read_audio(path)[0].shape == (1, 99)


def test_priming_that_only_apples_tag_tells_is_no_missing_audio(
    tmp_path: Path, signal: np.ndarray
) -> None:
    path = tmp_path / "x.m4a"
    silence = np.zeros((2, 2112 - 1024), np.float32)  # what Apple's encoder has more of
    encode(path, "aac", np.concatenate([silence, signal], axis=1), use_editlist="0")
    file = MP4(path)
    file["----:com.apple.iTunes:iTunSMPB"] = MP4FreeForm(
        f" 00000000 00000840 000001CA {LENGTH:016X}".encode() + b" 00000000" * 8
    )
    file.save()
    audio, _ = read_audio(path)
    assert LENGTH <= audio.shape[1] < LENGTH + 1024
    inner = slice(3000, LENGTH - 3000)
    assert (audio[:, inner] - torch.from_numpy(signal)[:, inner]).abs().max() < 0.06


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
    ("start", "frames"),
    [(0, 100), (1, 1), (1151, 3), (12345, 4567), (20000, -1), (LENGTH - 5, 50), (99999, 7), (5, 0)],
)
def test_excerpt_is_the_slice_of_the_whole(
    ending: str, start: int, frames: int, files: dict[str, Path]
) -> None:
    whole, _ = read_audio(files[ending])
    excerpt, _ = read_audio(files[ending], start, frames)
    end = None if frames == -1 else start + frames
    assert torch.equal(excerpt, whole[:, start:end])


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("block", [1000, 4096, 65536])
def test_two_streamed_passes_equal_the_whole(
    ending: str, block: int, files: dict[str, Path]
) -> None:
    whole, _ = read_audio(files[ending])
    with open_reader(files[ending]) as reader:
        first, second = list(reader.blocks(block)), list(reader.blocks(block))
    assert [b.shape[-1] for b in first[:-1]] == [block] * (len(first) - 1)
    assert 0 < first[-1].shape[-1] <= block
    assert torch.equal(torch.cat(first, dim=-1), whole)
    assert torch.equal(torch.cat(second, dim=-1), whole)


@pytest.mark.parametrize("ending", ["flac", "m4a"])
def test_closing_ends_a_pass_that_was_not_read_to_its_end(
    ending: str, files: dict[str, Path]
) -> None:
    with open_reader(files[ending]) as reader:
        blocks = reader.blocks(1000)
        next(blocks)
    assert list(blocks) == []


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_depth_reads_the_same_through_both_decoders(
    subtype: str, tmp_path: Path, signal: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, signal.T, RATE, subtype=subtype)
    by_soundfile, _ = read_audio(path)
    monkeypatch.setattr("mss.core.audio_read.check_header", lambda _: "ffmpeg")
    by_ffmpeg, _ = read_audio(path)
    assert torch.equal(by_soundfile, by_ffmpeg)


def test_blocks_and_excerpts_of_an_mp3_of_few_bits_are_exact(tmp_path: Path) -> None:
    # libsndfile's own seek lands elsewhere in this file, and soundfile seeks after every read.
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    path = tmp_path / "tone.mp3"
    soundfile.write(path, np.stack([tone, tone], axis=1), RATE)
    whole, _ = read_audio(path)
    assert (whole[0] - torch.from_numpy(tone)).abs().max() < 0.05
    assert torch.equal(read_audio(path, 12_345, 4567)[0], whole[:, 12_345:16_912])
    with open_reader(path) as reader:
        assert torch.equal(torch.cat(list(reader.blocks(1000)), dim=-1), whole)


def mp3_without_length(path: Path, tmp_path: Path) -> Path:
    """Cut the first frame off, which holds the length."""
    content = path.read_bytes()
    second = content.find(content[:2], 4)
    bare = tmp_path / "bare.mp3"
    bare.write_bytes(content[second:])
    return bare


def test_mp3_without_a_length_is_read_to_its_end(tmp_path: Path) -> None:
    # Silence, then noise: a guess from the first frame's bit rate is far off.
    samples = 0.3 * np.random.default_rng(0).standard_normal((2, 4 * RATE)).astype(np.float32)
    samples[:, :RATE] = 0
    path = tmp_path / "vbr.mp3"
    soundfile.write(path, samples.T, RATE, bitrate_mode="VARIABLE", compression_level=0.3)
    audio, _ = read_audio(mp3_without_length(path, tmp_path))
    assert 4 * RATE <= audio.shape[-1] <= 4 * RATE + 3 * 1152  # with delay and padding


@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125)])
@pytest.mark.parametrize("seconds", [1, 4])
def test_joined_mp3s_are_read_to_their_end(seconds: int, between: bytes, tmp_path: Path) -> None:
    length = seconds * RATE
    samples = 0.3 * np.random.default_rng(0).standard_normal((2, length)).astype(np.float32)
    path = tmp_path / "one.mp3"
    soundfile.write(path, samples.T, RATE)
    (tmp_path / "two.mp3").write_bytes(path.read_bytes() + between + path.read_bytes())
    audio, _ = read_audio(tmp_path / "two.mp3")
    assert 2 * length <= audio.shape[-1] <= 2 * length + 6 * 1152


def test_joined_oggs_are_read_to_their_end(tmp_path: Path, signal: np.ndarray) -> None:
    paths = [tmp_path / "a.ogg", tmp_path / "b.ogg"]
    for path in paths:
        WRITERS["ogg"](path, signal)
    contents = [path.read_bytes() for path in paths]
    assert contents[0][14:18] != contents[1][14:18]  # the serial number is drawn for each
    joined = tmp_path / "joined.ogg"
    joined.write_bytes(contents[0] + contents[1])
    audio, _ = read_audio(joined)
    assert abs(audio.shape[-1] - 2 * LENGTH) <= 2048  # at most a block of Vorbis at the seam
    assert torch.allclose(audio[:, :20000], read_audio(paths[0])[0][:, :20000], atol=1e-4)


def test_mp3_before_an_id3v1_tag_keeps_its_exact_length(
    files: dict[str, Path], tmp_path: Path
) -> None:
    tagged = tmp_path / "tagged.mp3"
    tagged.write_bytes(files["mp3"].read_bytes() + b"TAG" + bytes(125))
    assert audio_info(tagged).decoder == "soundfile"
    assert torch.equal(read_audio(tagged)[0], read_audio(files["mp3"])[0])


def test_mp3_behind_an_id3_tag_keeps_its_exact_length(
    files: dict[str, Path], tmp_path: Path
) -> None:
    tagged = tmp_path / "tagged.mp3"
    size = 3000
    header = b"ID3\x04\x00\x00" + bytes([0, 0, size >> 7, size & 0x7F])
    tagged.write_bytes(header + bytes(size) + files["mp3"].read_bytes())
    assert audio_info(tagged).decoder == "soundfile"
    assert torch.equal(read_audio(tagged)[0], read_audio(files["mp3"])[0])


def patched_sizes(path: Path, target: Path, riff: int, data: int) -> Path:
    content = bytearray(path.read_bytes())
    content[4:8] = riff.to_bytes(4, "little")
    at = content.index(b"data") + 4
    content[at : at + 4] = data.to_bytes(4, "little")
    target.write_bytes(content)
    return target


@pytest.mark.parametrize(
    ("riff", "data"),
    [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0xFFFFFFFF, 0), (0x7FFFF024, 0x7FFFF000)],
)
def test_wav_from_a_pipe_is_read_to_its_end(
    riff: int, data: int, files: dict[str, Path], tmp_path: Path
) -> None:
    piped = patched_sizes(files["wav"], tmp_path / "piped.wav", riff, data)
    assert torch.equal(read_audio(piped)[0], read_audio(files["wav"])[0])


def test_flac_from_a_pipe_is_read_to_its_end(files: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(files["flac"].read_bytes())
    content[21] &= 0xF0  # the 36 bits of total samples in STREAMINFO: 0 is unknown
    content[22:26] = bytes(4)
    piped = tmp_path / "piped.flac"
    piped.write_bytes(content)
    info = audio_info(piped)
    assert (info.frames, info.exact) == (None, False)
    whole, _ = read_audio(files["flac"])
    assert torch.equal(read_audio(piped)[0], whole)
    assert torch.equal(read_audio(piped, 5000, 700)[0], whole[:, 5000:5700])


def test_stream_argument_selects_among_audio_streams(tmp_path: Path, signal: np.ndarray) -> None:
    path = tmp_path / "two.mkv"
    encode(path, "pcm_s16le", signal, signal[:1] / 2)
    assert read_audio(path)[0].shape[0] == 2
    second, _ = read_audio(path, stream=1)
    assert torch.allclose(second, torch.from_numpy(signal[:1] / 2), atol=1.1 / 32768)
    with pytest.raises(DataError, match=r"no audio stream 2: there are 2"):
        read_audio(path, stream=2)
    write_wav(tmp_path / "one.wav", signal)
    with pytest.raises(DataError, match=r"no audio stream 1: there are 1"):
        read_audio(tmp_path / "one.wav", stream=1)


def test_a_play_list_opens_no_other_file(files: dict[str, Path], tmp_path: Path) -> None:
    play_list = tmp_path / "list.m3u8"
    play_list.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(DataError, match=r"list\.m3u8"):
        read_audio(play_list)
