"""Filtering a data set: planted noise is found, folds are kept apart, and a call goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from noisy_songs import RATE, STEMS, separate_bands, write_songs
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.data.folder import FolderDataset
from mss.data.folds import Folds
from mss.data.planting import Planting, plant_noise
from mss.data.tracks import TrackSet
from mss.distill.disguise import PitchTempo
from mss.distill.filter_scores import score_filter
from mss.distill.filtering import Judges, JudgeSource, Measuring, measure_songs
from mss.distill.stem_energies import StemJudge
from mss.distill.verdict import Criterion, judge_songs

AS_IT_IS = Measuring(PitchTempo(0, 1))
SONGS = 12


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_songs(tmp_path_factory.mktemp("songs") / "clean", SONGS)


def read_songs(root: Path) -> TrackSet:
    config = FolderDataset.Config(root=str(root), samplerate=RATE, channels=1)
    return FolderDataset(config).every_song()


def source(
    name: str = "bands",
    separate: Callable[[Tensor], Tensor] = separate_bands,
    trained_on: frozenset[str] = frozenset(),
    digest: str = "0",
) -> JudgeSource:
    return JudgeSource(name, trained_on, lambda: StemJudge(name, digest, STEMS, separate))


@pytest.mark.parametrize("measuring", [AS_IT_IS, Measuring(), Measuring(window=1.0)])
def test_planted_noise_is_found(clean: Path, tmp_path: Path, measuring: Measuring) -> None:
    """By a separator that knows every band, in disguise too."""
    truth = plant_noise(clean, tmp_path / "noisy", Planting(0.25, 0.25, bleed_db=-12), False)
    tracks = read_songs(tmp_path / "noisy")
    songs = measure_songs(tracks.tracks, Judges([source()]), measuring, tmp_path / "kept")
    verdicts = judge_songs(songs, Criterion(), measuring.silence_db)
    scores = score_filter(verdicts, truth)
    assert scores["stems"].noisy == 3 * 2 + 3
    assert scores["stems"].judged == SONGS * 3
    assert scores["songs"].noisy == 6
    for name in ("stems", "stems as they are", "swap", "bleed", "songs"):
        found = scores[name]
        assert (found.auc, found.precision, found.recall) == (1.0, 1.0, 1.0), name
    for song, planted in truth.songs.items():
        assert verdicts.is_clean(song) == (planted is None)


def test_the_level_of_a_planted_bleed_is_its_margin(clean: Path, tmp_path: Path) -> None:
    truth = plant_noise(clean, tmp_path / "noisy", Planting(bleed=0.5, bleed_db=-9), False)
    tracks = read_songs(tmp_path / "noisy")
    songs = measure_songs(tracks.tracks, Judges([source()]), AS_IT_IS, tmp_path / "kept")
    for song, planted in truth.songs.items():
        if planted is not None:
            into, of = planted.stems
            found = songs[song].stems[into]
            assert found.bleed_margin(into) == pytest.approx(-planted.level_db, abs=1e-2)
            assert planted.level_db == pytest.approx(-9, abs=1e-2)  # all stems are of one level
            assert found.loudest_other(into) == of
            assert songs[song].stems[of].bleed_margin(of) > 100  # what lost a part is clean


class Recorder:
    """A separator that keeps what it was given, and may be interrupted."""

    def __init__(self, calls: int | None = None) -> None:
        self.heard: list[Tensor] = []
        self.calls = calls

    def __call__(self, mix: Tensor) -> Tensor:
        if len(self.heard) == self.calls:
            raise KeyboardInterrupt
        self.heard.append(mix)
        return separate_bands(mix)


def test_no_model_judges_what_it_trained_on(clean: Path, tmp_path: Path) -> None:
    tracks, folds = read_songs(clean), Folds(3, seed=2)
    names = [track.name for track in tracks.tracks]
    recorders = [Recorder() for _ in range(3)]
    sources = [
        source(f"fold {fold}", recorders[fold], frozenset(n for n in names if folds.of(n) != fold))
        for fold in range(3)
    ]
    songs = measure_songs(tracks.tracks, Judges(sources, folds), AS_IT_IS, tmp_path / "kept")
    assert list(songs) == names
    for fold in range(3):
        own = [track for track in tracks.tracks if folds.of(track.name) == fold]
        assert own, "an empty fold shows nothing"
        assert [songs[track.name].judge for track in own] == [f"fold {fold}"] * len(own)
        given = [track.read(stem) for track in own for stem in track.stems]
        assert len(recorders[fold].heard) == len(given)
        assert all(torch.equal(*pair) for pair in zip(recorders[fold].heard, given, strict=True))

    for wrong in (
        Judges(sources[::-1], folds),  # in another order
        Judges(sources, Folds(3, seed=3)),  # another division
    ):
        with pytest.raises(ConfigError, match=r"--folds: fold \d was trained on 'song \d\d'"):
            measure_songs(tracks.tracks, wrong, AS_IT_IS, tmp_path / "other")
    assert not (tmp_path / "other").exists(), "it is told before anything is measured"


def test_a_single_judge_may_know_the_songs(clean: Path, tmp_path: Path) -> None:
    tracks = read_songs(clean)
    known = source(trained_on=frozenset(track.name for track in tracks.tracks))
    assert len(measure_songs(tracks.tracks, Judges([known]), AS_IT_IS, tmp_path)) == SONGS


def test_as_many_models_as_folds() -> None:
    with pytest.raises(ConfigError, match="--folds: 2 models; 3 folds need as many"):
        Judges([source(), source()], Folds(3))
    with pytest.raises(ConfigError, match="--folds: 2 models; without folds there is one"):
        Judges([source(), source()])


def test_an_interrupted_filter_goes_on(clean: Path, tmp_path: Path) -> None:
    tracks = read_songs(clean).tracks
    undisturbed = measure_songs(tracks, Judges([source()]), Measuring(), tmp_path / "once")
    first = Recorder(calls=3 * 4 + 1)  # in the middle of the fifth song
    with pytest.raises(KeyboardInterrupt):
        measure_songs(tracks, Judges([source(separate=first)]), Measuring(), tmp_path / "kept")
    second = Recorder()
    songs = measure_songs(tracks, Judges([source(separate=second)]), Measuring(), tmp_path / "kept")
    assert len(second.heard) == 3 * (SONGS - 4)
    assert songs == undisturbed
    files = {path.name: path.read_bytes() for path in (tmp_path / "once").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    third = Recorder(calls=0)
    again = measure_songs(tracks, Judges([source(separate=third)]), Measuring(), tmp_path / "kept")
    assert again == undisturbed


def test_what_decides_a_measurement_makes_it_again(tmp_path: Path) -> None:
    root = write_songs(tmp_path / "songs", 3)

    def calls(measuring: Measuring = AS_IT_IS, **judge: Any) -> int:
        recorder = Recorder()
        judges = Judges([source(separate=recorder, **judge)])
        measure_songs(read_songs(root).tracks, judges, measuring, tmp_path / "kept")
        return len(recorder.heard)

    assert (calls(), calls()) == (9, 0)
    assert calls(digest="other weights") == 9
    assert calls() == 9  # the last one's are kept
    assert calls(Measuring(PitchTempo(0, 1), silence_db=-70)) == 9
    assert calls() == 9
    path = root / "train" / "song 01" / "bass.wav"
    wave, _ = soundfile.read(path)
    soundfile.write(path, 0.5 * wave, RATE, subtype="FLOAT")
    assert calls() == 3  # of this song


def test_a_damaged_measurement_is_told(tmp_path: Path) -> None:
    tracks = read_songs(write_songs(tmp_path / "songs", 1)).tracks
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "song 00.json").write_text('{"key":')
    with pytest.raises(DataError, match=r"song 00\.json: is damaged .*remove it"):
        measure_songs(tracks, Judges([source()]), AS_IT_IS, tmp_path / "kept")


@pytest.mark.parametrize("seconds", [0, float("nan"), float("inf")])
def test_a_window_of_no_length(seconds: float) -> None:
    with pytest.raises(ConfigError, match="--window"):
        Measuring(window=seconds)
