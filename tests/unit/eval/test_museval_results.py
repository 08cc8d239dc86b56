"""The aggregate of SiSEC 2018 from songs' files gives the published numbers."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from mss.core.errors import ConfigError, DataError
from mss.eval.candidates import Candidate, read_candidate
from mss.eval.comparison import compare
from mss.eval.museval_results import is_museval_folder, read_museval_results
from mss.eval.summary import over_songs
from tools.scores import main, scores_table

# SDR in dB of TAK1 (Takahashi and others' MMDenseLSTM) in SiSEC 2018: each of MUSDB18's 50 test
# songs, the median of its frames, from the scores that the campaign published.
TAK1 = {
    "vocals": """
        8.486 5.696 8.145 5.103 7.82 9.752 2.947 7.538 3.593 4.771 8.253 6.092 8.183 5.869
        4.482 4.061 6.858 4.31 7.42 7.829 7.547 9.845 8.782 8.151 0.609 6.626 6.638 -28.879
        -16.849 3.419 3.657 9.614 5.035 6.81 10.759 8.627 0.107 4.027 6.379 5.501 3.455 4.319
        7.149 9.763 9.779 3.235 7.792 7.507 2.904 6.574
    """,
    "drums": """
        5.146 3.973 5.224 -0.701 9.723 6.67 6.63 5.812 11.167 4.93 9.685 6.806 6.859 9.585
        7.537 6.376 4.989 5.74 8.319 10.187 8.415 4.606 5.659 7.939 6.464 12.322 9.273 8.76
        8.285 5.823 5.01 3.666 4.215 5.364 11.339 3.45 6.714 4.462 3.814 6.398 7.09 7.959
        4.635 5.567 1.373 2.809 10.891 4.486 8.595 7.577
    """,
    "bass": """
        -4.668 5.137 4.568 3.447 7.333 9.037 6.83 5.397 7.099 -0.163 3.671 0.196 3.574 5.199
        7.178 3.451 -0.132 5.174 0.678 7.956 5.816 4.86 6.828 3.624 9.193 7.027 5.284 0.073
        2.017 6.318 5.341 9.358 3.373 8.916 6.85 0.56 9.855 9.946 13.605 0.966 3.621 6.509
        3.779 8.454 1.527 1.754 1.104 10.07 1.562 1.902
    """,
    "other": """
        0.657 1.634 5.809 0.319 4.187 4.126 3.429 2.922 4.536 5.742 3.031 0.852 6.628 4.592
        4.009 4.515 2.311 6.599 3.78 3.019 6.684 5.966 4.834 4.179 8.775 4.387 5.168 1.751
        0.227 2.208 3.082 2.607 6.105 5.446 1.19 4.631 -0.198 5.741 6.11 7.721 3.303 3.432
        2.475 4.825 1.287 7.093 -0.563 2.702 5.346 5.41
    """,
}
PUBLISHED = {"vocals": 6.60, "drums": 6.43, "bass": 5.16, "other": 4.15}
"""Median over the songs, as the campaign's table has it."""


def frames_around(median: float, count: int, generator: random.Random) -> list[float]:
    """Return unordered frames of that median, some not defined, whose mean is another."""
    pairs = [abs(generator.gauss(0, 3)) for _ in range(count)]
    below = [median - 2 * distance for distance in pairs]  # a heavier tail on one side
    above = [median + distance for distance in pairs]
    middle = [median] if generator.random() < 0.5 else [median - 0.25, median + 0.25]
    frames = [*(value for value in below if value < median - 0.5), *middle]
    frames += [max(value, median + 0.5) for value in above[: len(frames) - len(middle)]]
    frames += [math.nan] * generator.randrange(5)
    generator.shuffle(frames)
    return frames


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A folder as the campaign's participants handed in."""
    generator = random.Random(0)
    medians = {source: [float(word) for word in text.split()] for source, text in TAK1.items()}
    folder = tmp_path / "TAK1"
    (folder / "test").mkdir(parents=True)
    for song in range(50):
        targets = []
        for source, of_songs in medians.items():
            scores = frames_around(of_songs[song], 40, generator)
            assert np.nanmedian(scores) == pytest.approx(of_songs[song], abs=1e-9)
            frames = [
                {
                    "time": float(index),
                    "duration": 1.0,
                    "metrics": {"SDR": score, "SIR": 1.0, "ISR": 2.0, "SAR": 3.0},
                }
                for index, score in enumerate(scores)
            ]
            targets.append({"name": source, "frames": frames})
        (folder / "test" / f"song {song}.json").write_text(json.dumps({"targets": targets}))
    return folder


def test_the_published_table(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = read_museval_results(campaign)
    assert (stored.system, len(stored.tracks)) == ("TAK1", 50)
    for source, published in PUBLISHED.items():
        of_songs = [scores["csdr"][source] for scores in stored.tracks.values()]
        assert round(over_songs(stored.measures["csdr"], of_songs) or 0, 2) == published
    assert main([str(campaign)]) == 0
    table = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.strip()}
    for source, published in PUBLISHED.items():
        assert rows[source] == [f"{published:.2f}", "2.00", "1.00", "3.00"]


def test_musevals_own_aggregate_is_the_same(campaign: Path) -> None:
    """Medians of groups in pandas, which is how museval aggregates."""
    import pandas

    rows = []
    for path in campaign.glob("test/*.json"):
        for target in json.loads(path.read_text())["targets"]:
            rows += [
                (path.stem, target["name"], frame["metrics"]["SDR"]) for frame in target["frames"]
            ]
    frames = pandas.DataFrame(rows, columns=["track", "target", "score"])
    of_songs = frames.groupby(["track", "target"])["score"].median()
    expected = of_songs.groupby("target").median()
    stored = read_museval_results(campaign)
    for source in PUBLISHED:
        ours = [scores["csdr"][source] for scores in stored.tracks.values()]
        assert over_songs(stored.measures["csdr"], ours) == pytest.approx(expected[source])


def test_such_folders_can_be_compared(campaign: Path, tmp_path: Path) -> None:
    candidate = read_candidate(str(campaign), tmp_path / "results")
    assert candidate.name == "TAK1 (scored by museval)"
    (id,) = candidate.ids("csdr")
    assert id.startswith("csdr/museval/test@")
    again = Candidate("again", candidate.seeds)
    (note,) = compare(candidate, [again]).notes
    assert "the data is taken to be the same where songs have the same names" in note


def write_museval(
    folder: Path,
    frames: dict[str, tuple[float, float]],
    targets: tuple[str, ...] = ("vocals", "drums"),
    count: int = 3,
) -> Path:
    """Write songs, each with its window and hop in seconds; every score is 1."""
    (folder / "test").mkdir(parents=True, exist_ok=True)
    metrics = dict.fromkeys(("SDR", "ISR", "SIR", "SAR"), 1.0)
    for song, (window, hop) in frames.items():
        rows = [{"time": i * hop, "duration": window, "metrics": metrics} for i in range(count)]
        content = {"targets": [{"name": name, "frames": rows} for name in targets]}
        (folder / "test" / f"{song}.json").write_text(json.dumps(content))
    return folder


def test_frames_and_sources_are_a_part_of_the_protocol(tmp_path: Path) -> None:
    def ids(name: str, window: float, hop: float, *targets: str) -> set[str]:
        frames = dict.fromkeys("ab", (window, hop))
        folder = write_museval(tmp_path / name, frames, targets or ("vocals", "drums"), 12)
        return set(read_museval_results(folder).ids.values())

    plain = ids("plain", 1.0, 1.0)
    assert plain == ids("reordered", 1.0, 1.0, "drums", "vocals")
    others = [
        ids("long", 30.0, 30.0),
        ids("overlapping", 1.0, 0.1),
        ids("alone", 1.0, 1.0, "drums"),
    ]
    assert len(plain.union(*others)) == 4 * 4
    # 0.1 * 3 is not 0.3, and still a tenth of a second
    stored = read_museval_results(tmp_path / "overlapping")
    assert "frames of 1 s every 1/10 s" in stored.measures["sir"].definition
    with pytest.raises(ConfigError, match=r"csdr: definition '.* 30 s every 30 s.* and '.* 1 s ev"):
        compare(
            read_candidate(str(tmp_path / "long"), tmp_path),
            [read_candidate(str(tmp_path / "plain"), tmp_path)],
        )


def test_songs_of_one_frame_say_nothing_of_the_hop(tmp_path: Path) -> None:
    short = write_museval(tmp_path, {"a": (2.0, 2.0)}, count=1)
    assert "2 s every 2 s" in read_museval_results(short).measures["csdr"].definition
    write_museval(short, {"b": (2.0, 1.5)})
    assert "2 s every 3/2 s" in read_museval_results(short).measures["csdr"].definition


@pytest.mark.parametrize("frames", [(30.0, 30.0), (1.0, 0.5)])
def test_other_frames_in_one_folder_are_refused(
    tmp_path: Path, frames: tuple[float, float]
) -> None:
    write_museval(tmp_path, {"a": (1.0, 1.0), "b": frames})
    with pytest.raises(DataError, match=r"b\.json: has frames of .* before it of 1 s every 1 s"):
        read_museval_results(tmp_path)


def test_other_frames_in_one_song_are_refused(tmp_path: Path) -> None:
    path = write_museval(tmp_path, {"a": (1.0, 1.0)}) / "test" / "a.json"
    content = json.loads(path.read_text())
    content["targets"][0]["frames"][1]["duration"] = 2.0
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"a\.json: its frames are not of one length"):
        read_museval_results(tmp_path)
    content["targets"][0]["frames"][1]["duration"] = math.inf
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"a\.json: is not a song's scores in museval's layout"):
        read_museval_results(tmp_path)


def test_a_song_without_a_source(tmp_path: Path) -> None:
    write_museval(tmp_path, {"a": (1.0, 1.0)})
    write_museval(tmp_path, {"b": (1.0, 1.0), "c": (1.0, 1.0)}, ("vocals",))
    stored = read_museval_results(tmp_path)
    assert stored.sources == ("vocals", "drums")
    assert math.isnan(stored.tracks["b"]["csdr"]["drums"])
    table = scores_table(tmp_path)
    assert "csdr of drums: 1 of 3 songs, the others have no such score" in table
    assert "the data is taken to be the same where songs have the same names" in table


def test_no_such_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_museval_folder(tmp_path)
    with pytest.raises(DataError, match=r"holds no test/SONG\.json"):
        read_museval_results(tmp_path)
    with pytest.raises(DataError, match=r"holds no summary\.json"):
        scores_table(tmp_path)
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("scores: ")
