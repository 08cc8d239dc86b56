"""Where stems are silent in recordings: spans that a training can use."""

import json

import pytest
import soundfile
import torch
from noisy_songs import RATE
from presence_songs import CONFIG, labelled, write_labelled, write_recording

from mss.core.errors import ConfigError, DataError
from mss.data.segments import SegmentDataset
from mss.data.silent import SilentSpan, SilentStemSegments
from mss.data.tracks import IndexedTrack
from mss.distill.items import read_silence
from mss.distill.presence import Calibration, PresenceDetector
from mss.distill.presence_net import PresenceNet
from mss.distill.presence_search import (
    find_silence,
    open_recordings,
    window_starts,
    write_silence,
)
from mss.distill.presence_thresholds import SilenceScore, Threshold

FRAMES = CONFIG.segment_frames
LIMITS = {"bass": (0, 200), "drums": (250, 600), "vocals": (700, 1500)}  # Hz


class BandLevels(PresenceNet):
    """Tells levels by the bands that stems lie in."""

    def forward(self, mix):
        spectrum = torch.fft.rfft(mix.double()).abs().square().sum(dim=1)  # [B, F]
        hz = torch.fft.rfftfreq(mix.shape[-1], 1 / RATE)
        shares = [
            spectrum[:, (hz >= LIMITS[stem][0]) & (hz < LIMITS[stem][1])].sum(dim=1)
            / spectrum.sum(dim=1)
            for stem in self.config.stems
        ]
        return 10 * torch.log10(torch.stack(shares, dim=1)).clamp(-60, 0)


def detector(**levels):
    """One that knows the bands; stems that are not named have no threshold."""
    score = SilenceScore(100, 60, 60, 60, 1.0)
    thresholds = tuple(
        Threshold(level, 0.95 if level else None, score) for level in map(levels.get, CONFIG.stems)
    )
    return PresenceDetector(BandLevels(CONFIG).eval(), thresholds, Calibration())


EVERY = {"drums": -20.0, "bass": -20.0, "vocals": -20.0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """Two recordings; of the second, the end is no whole segment."""
    write_recording(tmp_path / "in" / "one", 8, {"drums": range(2, 5), "vocals": range(7, 8)})
    write_recording(tmp_path / "in" / "two", 20, {"bass": range(17, 20)}, seed=9, extra=500)
    return tmp_path / "in"


def test_spans_are_the_windows_in_which_a_stem_is_silent(root):
    silence = find_silence(detector(**EVERY), open_recordings(root, CONFIG))
    assert silence.spans == (
        SilentSpan("one", "drums", 2 * FRAMES, 3 * FRAMES),
        SilentSpan("one", "vocals", 7 * FRAMES, FRAMES),
        # the last window lies 500 samples later than the one before; bass sounds in the rest
        SilentSpan("two", "bass", 17 * FRAMES, 3 * FRAMES),
    )
    assert silence.seconds("drums") == 3
    assert silence.short == ()


def test_windows_cover_a_recording_to_its_end():
    assert window_starts(25, 10) == [0, 10, 15]
    assert window_starts(30, 10) == [0, 10, 20]
    assert window_starts(10, 10) == [0]
    assert window_starts(9, 10) == []


def test_stems_without_a_threshold_and_stems_not_asked_for_are_left_out(root):
    recordings = open_recordings(root, CONFIG)
    known = find_silence(detector(drums=-20.0, bass=-20.0), recordings)
    assert {span.stem for span in known.spans} == {"drums", "bass"}
    asked = find_silence(detector(**EVERY), recordings, ["vocals"])
    assert {span.stem for span in asked.spans} == {"vocals"}


def test_what_is_written_feeds_a_training(root, tmp_path):
    found = detector(**EVERY)
    recordings = open_recordings(root, CONFIG)
    silence = find_silence(found, recordings)
    path = write_silence(silence, found, "abc", root)
    assert path == root / "silence.json"
    spans = read_silence(path)
    assert tuple(spans) == silence.spans
    songs = labelled(write_labelled(tmp_path / "songs")).split("train")
    items = SilentStemSegments(recordings, spans, SegmentDataset(songs, FRAMES, 8, 0), 8, 0)
    stems_seen = set()
    for index in range(8):
        item = items[0, index]
        stem = item.names[int(item.trust.argmax())]
        stems_seen.add(stem)
        levels = detector(**EVERY).net(item.rest[None])[0]
        # the recording under it holds as good as nothing of that stem
        assert levels[item.names.index(stem)] < -20
        assert item.stems[item.names.index(stem)].any()
    assert len(stems_seen) > 1


def test_the_file_says_what_it_was_found_by(root):
    found = detector(drums=-20.0)
    recordings = open_recordings(root, CONFIG)
    path = write_silence(find_silence(found, recordings), found, "abc", root)
    first = path.read_bytes()
    content = json.loads(first)
    assert content["net"] == "abc"
    assert content["thresholds"] == {"drums": -20.0, "bass": None, "vocals": None}
    assert (content["samplerate"], content["silence_db"]) == (RATE, -40)
    assert content["recordings"] == recordings.fingerprint
    write_silence(find_silence(found, recordings), found, "abc", root)
    assert path.read_bytes() == first  # also: the file beside the songs is none of them


def test_songs_in_a_train_folder_and_flac_files_are_found(root, tmp_path):
    one = root / "one" / "mixture.wav"
    wave, rate = soundfile.read(one)
    folder = tmp_path / "split" / "train" / "song"
    folder.mkdir(parents=True)
    soundfile.write(folder / "mixture.flac", wave, rate)
    silence = find_silence(detector(**EVERY), open_recordings(tmp_path / "split", CONFIG))
    assert SilentSpan("song", "drums", 2 * FRAMES, 3 * FRAMES) in silence.spans


def test_stereo_recordings_are_heard_by_a_mono_net(root):
    for path in root.glob("*/mixture.wav"):
        wave, rate = soundfile.read(path)
        soundfile.write(path, torch.tensor(wave)[:, None].repeat(1, 2).numpy(), rate)
    silence = find_silence(detector(**EVERY), open_recordings(root, CONFIG))
    assert len(silence.spans) == 3


def test_memory_does_not_grow_with_a_recording(tmp_path, monkeypatch):
    """It is read a window at a time, and few of those are heard at once."""
    write_recording(tmp_path / "in" / "long", 100, {"drums": range(80, 81)})
    recordings = open_recordings(tmp_path / "in", CONFIG)
    read, hear, read_at_once, heard_at_once = IndexedTrack.read, BandLevels.forward, [], []

    def spy_read(track, stem, start=0, frames=None):
        read_at_once.append(frames)
        return read(track, stem, start, frames)

    def spy_hear(net, mix):
        heard_at_once.append(len(mix))
        return hear(net, mix)

    monkeypatch.setattr(IndexedTrack, "read", spy_read)
    monkeypatch.setattr(BandLevels, "forward", spy_hear)
    silence = find_silence(detector(**EVERY), recordings)
    assert silence.spans == (SilentSpan("long", "drums", 80 * FRAMES, FRAMES),)
    assert read_at_once == [FRAMES] * 100
    assert sum(heard_at_once) == 100 and max(heard_at_once) == 16


def test_recordings_shorter_than_a_window_are_named(root):
    write_recording(root / "short", 0, {}, extra=FRAMES - 1)
    silence = find_silence(detector(**EVERY), open_recordings(root, CONFIG))
    assert silence.short == ("short",)
    assert len(silence.spans) == 3


# -- mistakes ----------------------------------------------------------------------------------


def test_another_sample_rate_is_refused(root):
    for path in root.glob("*/mixture.wav"):
        wave, _ = soundfile.read(path)
        soundfile.write(path, wave, 16000)
    with pytest.raises(DataError, match=r"mixture\.wav: has 16000 Hz, .*hears 8000 Hz\. Convert"):
        open_recordings(root, CONFIG)


def test_one_file_of_another_sample_rate_is_named(root):
    path = root / "two" / "mixture.wav"
    wave, _ = soundfile.read(path)
    soundfile.write(path, wave, 16000)
    with pytest.raises(DataError, match=r"two/mixture\.wav: has 16000 Hz, not 8000 Hz"):
        open_recordings(root, CONFIG)


def test_a_damaged_recording_is_named(root):
    path = root / "two" / "mixture.wav"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"two/mixture\.wav: .*truncated"):
        open_recordings(root, CONFIG)


def test_folders_without_recordings_are_refused(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there are no recordings; expected is"):
        open_recordings(tmp_path / "empty", CONFIG)
    with pytest.raises(DataError, match="there is no such folder"):
        open_recordings(tmp_path / "absent", CONFIG)
    (root / "two" / "mixture.wav").rename(root / "two" / "song.wav")
    with pytest.raises(DataError, match=r"two: holds no mixture\.wav"):
        open_recordings(root, CONFIG)


@pytest.mark.parametrize(
    ("levels", "stems", "message"),
    [
        (EVERY, ["vocal"], "does not tell 'vocal'. Did you mean 'vocals'"),
        ({"drums": -20.0}, ["bass"], "bass: the presence net has no threshold"),
        ({}, [], "the presence net has no threshold for any stem"),
    ],
)
def test_stems_that_can_not_be_found_are_refused(root, levels, stems, message):
    with pytest.raises(ConfigError, match=message):
        find_silence(detector(**levels), open_recordings(root, CONFIG), stems)
