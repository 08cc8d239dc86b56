"""The MUSDB18 family, on small files of its formats.

MUSDB18's own files can't be had here. Its stems.mp4 are made with PyAV, and read by the musdb
package through the ffmpeg program, or through a stand-in for it where the machine has none.
"""

import os
import shutil
import sys
from pathlib import Path
from urllib.error import URLError

import av
import numpy as np
import pytest
import torch

import mss.data.musdb as musdb18
from mss.core.audio_io import read_audio
from mss.core.errors import ConfigError, DataError
from mss.core.registry import build
from mss.data.tracks import TrackSet

VALID = "Leaf - Summerghost"  # one of the 14
STREAMS = ("mixture", "drums", "bass", "other", "vocals")

pytestmark = pytest.mark.usefixtures("cache_folder")

# What stempeg asks of ffprobe and ffmpeg, done by PyAV: facts as JSON, one stream as 16 bits.
FFPROBE = """
import json, sys, av
with av.open(sys.argv[-1]) as container:
    streams = [
        dict(index=s.index, codec_type=s.type, sample_rate=str(s.rate), channels=s.channels,
             duration_ts=s.duration, duration=str(float(s.duration * s.time_base)))
        for s in container.streams.audio
    ]
print(json.dumps(dict(streams=streams, format={})))
"""
FFMPEG = """
import sys, av
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert arguments["-f"] == "s16le" and arguments["-ar"] == "44100", arguments
with av.open(arguments["-i"]) as container:
    stream = container.streams.audio[int(arguments["-map"].removeprefix("0:"))]
    convert = av.AudioResampler("s16", "stereo", 44100)
    for frame in container.decode(stream):
        for part in convert.resample(frame):
            sys.stdout.buffer.write(part.to_ndarray().tobytes())
"""


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ffmpeg and ffprobe programs."""
    if shutil.which("ffmpeg") and shutil.which("ffprobe"):
        return
    for name, source in {"ffprobe": FFPROBE, "ffmpeg": FFMPEG}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}{source}")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Decode by PyAV in place of the musdb package; tells which songs were decoded."""
    seen: list[str] = []

    def read(path: Path, stream: int) -> np.ndarray:
        seen.append(f"{path.name.partition('.')[0]}:{stream}")
        audio, _ = read_audio(path, stream=stream)
        return np.rint(audio.numpy() * 32768).clip(-32768, 32767).astype(np.int16)

    monkeypatch.setattr(musdb18, "_read_stream", read)
    monkeypatch.setattr(musdb18, "_import_musdb", lambda: None)
    return seen


def write_stems_mp4(path: Path, frequencies: tuple[float, ...], seconds: float = 0.25) -> None:
    """Write five AAC streams: the sum of four sines, and each."""
    time = np.arange(int(seconds * 44100)) / 44100
    stems = [0.2 * np.sin(2 * np.pi * frequency * time) for frequency in frequencies]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        streams = [container.add_stream("aac", rate=44100, layout="stereo") for _ in STREAMS]
        for stream, mono in zip(streams, [np.sum(stems, axis=0), *stems], strict=True):
            stream.bit_rate = 256_000
            samples = np.stack([mono, mono]).astype(np.float32)
            for start in range(0, samples.shape[1], 1024):
                block = np.ascontiguousarray(samples[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = 44100, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


@pytest.fixture
def stems_root(tmp_path: Path) -> Path:
    root = tmp_path / "musdb18"
    for number, name in enumerate(("train/Band - Song", f"train/{VALID}", "test/Other - Song")):
        frequencies = tuple(200.0 * (stem + 1) + 20 * number for stem in range(4))
        write_stems_mp4(root / f"{name}.stem.mp4", frequencies)
    return root


def load(name: str, split: str, **keys: object) -> TrackSet:
    dataset = build("dataset", {"name": name, **keys}, where="dset")
    tracks: TrackSet = dataset.split(split)
    return tracks


def loudest(audio: torch.Tensor) -> float:
    """Frequency (Hz) of the largest bin of the first channel."""
    spectrum = torch.fft.rfft(audio[0] * torch.hann_window(audio.shape[1])).abs()
    return spectrum.argmax().item() * 44100 / audio.shape[1]


# -- MUSDB18-HQ ----------------------------------------------------------------------------------


def test_hq_validates_on_the_list_of_the_musdb_package(
    tmp_path: Path, write_song, no_programs: None
) -> None:
    """Without the ffmpeg program, which importing that package would need."""
    assert len(musdb18.validation_names()) == 14
    for seed, name in enumerate(("train/A - B", f"train/{VALID}", "train/C - D", "test/E - F")):
        write_song(tmp_path / name, 300, seed)
    found = {
        s: [t.name for t in load("musdb18hq", s, root=str(tmp_path)).tracks]
        for s in ("train", "valid", "test")
    }
    assert found == {"train": ["A - B", "C - D"], "valid": [VALID], "test": ["E - F"]}


def test_hq_needs_its_four_stems(tmp_path: Path, write_song) -> None:
    for seed, name in enumerate(("A - B", VALID)):
        write_song(tmp_path / "train" / name, 300, seed, ("drums", "bass", "other"))
    with pytest.raises(ConfigError, match="no track has a stem 'vocals'"):
        load("musdb18hq", "train", root=str(tmp_path))
    with pytest.raises(ConfigError, match=r"dset\.stems: there is no such key"):
        load("musdb18hq", "train", stems=["drums"])


# -- MUSDB18 (stems.mp4) -------------------------------------------------------------------------


def test_reads_stems_mp4_through_the_musdb_package(stems_root: Path, ffmpeg: None) -> None:
    tracks = load("musdb18", "train", root=str(stems_root))
    assert [track.name for track in tracks.tracks] == ["Band - Song"]
    assert tracks.stems == ("drums", "bass", "other", "vocals")
    track = tracks.tracks[0]
    assert abs(track.length - 11025) <= 2048  # AAC's frames of 1024 samples, and its delay
    assert track.samplerate == 44100
    audio = track.read_stems()
    assert audio.shape == (4, 2, track.length)
    bin_hz = 44100 / track.length
    for stem, expected in enumerate((200, 400, 600, 800)):
        assert abs(loudest(audio[stem]) - expected) <= bin_hz
    # AAC at 256 kbit/s: the streams are coded one by one, so their sum is near, not equal
    error = track.read("mixture") - audio.sum(dim=0)
    assert error[:, 2048:-2048].abs().max() < 0.05
    assert torch.equal(track.read("bass", 500, 100), audio[1, :, 500:600])


def test_splits_and_decodes_once(
    stems_root: Path, decoder: list[str], cache_folder: Path, tmp_path: Path
) -> None:
    found = {
        split: load("musdb18", split, root=str(stems_root)) for split in ("train", "valid", "test")
    }
    names = {split: [track.name for track in tracks.tracks] for split, tracks in found.items()}
    assert names == {"train": ["Band - Song"], "valid": [VALID], "test": ["Other - Song"]}
    assert len(decoder) == 15  # five streams of three songs
    decoder.clear()
    again = load("musdb18", "train", root=str(shutil.copytree(stems_root, tmp_path / "copy")))
    assert decoder == []
    assert again.fingerprint == found["train"].fingerprint
    assert again.tracks[0].file_statistics.std > 0.1
    assert [path.dtype for path in map(np.load, cache_folder.rglob("*.npy"))] == [np.int16] * 3


def test_fingerprint_sees_another_file(stems_root: Path, decoder: list[str]) -> None:
    before = load("musdb18", "train", root=str(stems_root)).fingerprint
    write_stems_mp4(stems_root / "train" / "Band - Song.stem.mp4", (300.0, 500.0, 700.0, 900.0))
    after = load("musdb18", "train", root=str(stems_root))
    assert after.fingerprint != before
    assert abs(loudest(after.tracks[0].read("drums")) - 300) < 5


def test_without_ffmpeg_one_sentence(stems_root: Path, no_programs: None) -> None:
    with pytest.raises(
        ConfigError, match=r"ffmpeg and ffprobe, which is not on the PATH.*musdb18hq"
    ):
        load("musdb18", "train", root=str(stems_root))


def test_damaged_stems_mp4(stems_root: Path, ffmpeg: None) -> None:
    path = stems_root / "train" / "Band - Song.stem.mp4"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="Band - Song"):
        load("musdb18", "train", root=str(stems_root))


def test_stems_mp4_without_its_stems(tmp_path: Path, ffmpeg: None) -> None:
    path = tmp_path / "train" / "Band - Song.stem.mp4"
    path.parent.mkdir()
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="no audio stream 1"):
        load("musdb18", "train", root=str(tmp_path))


def test_musdb18_refusals(tmp_path: Path, stems_root: Path, write_song) -> None:
    with pytest.raises(ConfigError, match=r"dset\.root: not set"):
        load("musdb18", "train")
    with pytest.raises(DataError, match="no such folder"):
        load("musdb18", "train", root=str(tmp_path / "absent"))
    write_song(tmp_path / "hq" / "train" / "A - B", 100, 0)
    with pytest.raises(DataError, match=r"0 tracks.*dset=musdb18hq"):
        load("musdb18", "train", root=str(tmp_path / "hq"))
    with pytest.raises(DataError, match=r"dset=musdb18$"):
        load("musdb18hq", "train", root=str(stems_root))
    (stems_root / "train" / f"{VALID}.stem.mp4").unlink()
    with pytest.raises(DataError, match="none is left to valid"):
        load("musdb18", "valid", root=str(stems_root))


# -- the preview ---------------------------------------------------------------------------------


class Downloader:
    """Stands for the musdb package: `DB(download=True)` makes the folder, or has no network."""

    def __init__(self, source: Path | None) -> None:
        self.source = source
        self.calls = 0

    def DB(self, root: str, download: bool) -> None:
        assert download
        self.calls += 1
        if self.source is None:
            Path(root).mkdir()
            raise URLError("Temporary failure in name resolution")
        shutil.copytree(self.source, root)


def test_preview_is_downloaded_once(
    stems_root: Path, decoder: list[str], cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Downloader(stems_root)
    monkeypatch.setattr(musdb18, "_import_musdb", lambda: package)
    assert load("musdb7s", "train").name == "musdb7s"
    assert [track.name for track in load("musdb7s", "valid").tracks] == [VALID]
    assert package.calls == 1
    assert (cache_folder / "musdb7s" / "test" / "Other - Song.stem.mp4").is_file()


def test_preview_without_a_network(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(musdb18, "_import_musdb", lambda: Downloader(None))
    root = tmp_path / "preview"
    with pytest.raises(DataError, match=r"name resolution.*unzip .* so that .*preview/train/NAME"):
        load("musdb7s", "train", root=str(root))
    assert not root.exists()  # no half set
    root.mkdir()
    (root / "precious.txt").write_text("x")
    with pytest.raises(DataError, match="is not empty"):
        load("musdb7s", "train", root=str(root))
