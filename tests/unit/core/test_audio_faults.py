"""Every fault of an input file is a DataError that names the file, the fault and a remedy."""

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from mss.core import audio_headers
from mss.core.audio_io import audio_info, open_reader, read_audio
from mss.core.errors import DataError

RATE = 44100


def noise(seconds: float = 1.0) -> np.ndarray:
    """White noise [T, 2]: no codec gets it small, so that half a file is half the audio."""
    generator = np.random.default_rng(0)
    return (0.1 * generator.standard_normal((int(seconds * RATE), 2))).astype(np.float32)


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def encode_m4a(path: Path, samples: np.ndarray, rate: int = RATE, options: str = "") -> Path:
    movflags = {"movflags": options} if options else {}
    with av.open(str(path), "w", options=movflags) as container:
        stream = container.add_stream("aac", rate=rate, layout="stereo")
        for first in range(0, len(samples), 1024):
            piece = np.ascontiguousarray(samples[first : first + 1024].T)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = rate, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def video_without_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            image = np.zeros((32, 32, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def empty_file(path: Path) -> Path:
    path.touch()
    return path


def text_file(path: Path) -> Path:
    path.write_text("not a song\n" * 100)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "name", "fault"),
    [
        (lambda path: path, "gone.wav", "no such file"),
        (folder, "album.wav", "a folder"),
        (pipe, "x.wav", "not a regular file"),
        (empty_file, "x.wav", "empty"),
        (text_file, "x.wav", "neither libsndfile nor FFmpeg"),
        (text_file, "x.mp3", "neither libsndfile nor FFmpeg"),
        (video_without_sound, "x.mp4", "no audio stream"),
    ],
)
def test_what_is_no_audio_file(
    make: Callable[[Path], Path], name: str, fault: str, tmp_path: Path
) -> None:
    path = make(tmp_path / name)
    for reads in (audio_info, open_reader, read_audio):
        with pytest.raises(DataError, match=fault) as caught:
            reads(path)
        assert str(path) in str(caught.value)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(0.1), RATE)

    def refuse(*_: object) -> None:  # the superuser of a container may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(audio_headers, "open", refuse, raising=False)
    with pytest.raises(DataError, match="no permission"):
        audio_info(path)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("ending", ["wav", "rf64", "aiff"])
def test_truncated_by_one_frame(ending: str, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, noise(0.1), RATE, subtype=subtype, format=ending.upper())
    assert audio_info(path).frames == 4410
    content = path.read_bytes()
    width = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}[subtype]
    path.write_bytes(content[: -2 * width])
    expected, found = (4410, 4409) if ending != "aiff" else (4410 * 2 * width, 4409 * 2 * width)
    with pytest.raises(DataError, match=rf"truncated.*{expected}.*{found}") as caught:
        audio_info(path)
    assert str(path) in str(caught.value)


def test_bytes_after_the_samples_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(0.1), RATE)
    path.write_bytes(path.read_bytes() + b"LIST\x04\x00\x00\x00INFO")
    assert read_audio(path)[0].shape == (2, 4410)


def test_a_wav_cut_within_its_header(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(0.1), RATE)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match=r"x\.wav"):
        audio_info(path)


@pytest.mark.parametrize("ending", ["flac", "mp3", "ogg"])
def test_truncated_compressed_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, noise(3), RATE)
    cut(path, 0.6)
    with pytest.raises(DataError, match="truncated") as caught:
        read_audio(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="truncated"), open_reader(path) as reader:
        list(reader.blocks(1000))


def test_excerpt_before_the_cut_of_a_flac_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, noise(3), RATE)
    whole, _ = read_audio(path)
    cut(path, 0.6)
    assert torch.equal(read_audio(path, 1000, 5000)[0], whole[:, 1000:6000])
    with pytest.raises(DataError, match="truncated"):
        read_audio(path, int(2.5 * RATE), 100)


@pytest.mark.parametrize("options", ["", "faststart"])
def test_truncated_m4a(options: str, tmp_path: Path) -> None:
    path = cut(encode_m4a(tmp_path / "x.m4a", noise(3), options=options), 0.6)
    fault = "truncated" if options else "can open it"  # its table of contents comes last
    with pytest.raises(DataError, match=fault) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)


def test_m4a_cut_between_packets(tmp_path: Path) -> None:
    path = encode_m4a(tmp_path / "x.m4a", noise(3), options="faststart")
    with av.open(str(path)) as container:
        starts = [p.pos for p in container.demux(audio=0) if p.pos]
    path.write_bytes(path.read_bytes()[: starts[len(starts) // 2]])
    with pytest.raises(DataError, match=r"truncated.*132300 frames"):
        read_audio(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("block", [100, 4410])
def test_not_finite_samples_are_found_when_asked(value: float, block: int, tmp_path: Path) -> None:
    samples = noise(0.1)
    samples[1234, 1] = value
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    assert read_audio(path)[0].shape == (2, 4410)
    with pytest.raises(DataError, match=r"x\.wav: sample 1234 is not a finite"):
        read_audio(path, 1000, 500, check_finite=True)
    with (
        pytest.raises(DataError, match="sample 1234 "),
        open_reader(path, check_finite=True) as reader,
    ):
        list(reader.blocks(block))
    assert read_audio(path, 1235, check_finite=True)[0].shape == (2, 3175)


def test_change_of_sample_rate_on_the_way(tmp_path: Path) -> None:
    paths = [tmp_path / "a.mp3", tmp_path / "b.mp3"]
    for path, rate in zip(paths, (44100, 48000), strict=True):
        soundfile.write(path, noise(3), rate)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(paths[0].read_bytes() + paths[1].read_bytes())
    with pytest.raises(DataError, match=r"changes at sample \d+ from 44100 Hz.* to 48000 Hz"):
        read_audio(joined)


def test_change_of_channels_on_the_way(tmp_path: Path) -> None:
    paths = [tmp_path / "a.mp3", tmp_path / "b.mp3"]
    for path, channels in zip(paths, (2, 1), strict=True):
        soundfile.write(path, noise(3)[:, :channels], RATE)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(paths[0].read_bytes() + paths[1].read_bytes())
    with pytest.raises(DataError, match=r"2 channels to 44100 Hz, 1 channels"):
        read_audio(joined)
