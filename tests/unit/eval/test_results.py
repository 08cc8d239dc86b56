"""Aggregation, files and tables."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import mss
from mss.core.errors import ConfigError, DataError
from mss.core.targets import TargetMap
from mss.core.types import InferenceDefaults
from mss.eval.evaluate import FrameCount, Silence, TrackResult
from mss.eval.museval_json import read_museval_json
from mss.eval.protocol import Protocol, System
from mss.eval.results import ResultsFolder, plain_numbers, read_results
from mss.eval.summary import summarise
from mss.eval.table import render_summary
from mss.metrics.energy import NSDR
from mss.metrics.museval_backend import Museval

NAN = math.nan
NSDR_MEASURE = NSDR().measure
SDR_MEASURE = Museval().measures[0]
SYSTEM = System("toy-1a2b", InferenceDefaults(Fraction(39, 5)))
PROTOCOL = Protocol(
    dataset="demo",
    split="test",
    fingerprint="ab" * 32,
    samplerate=44100,
    channels=2,
    targets=TargetMap(("bass", "vocals"), (("bass",), ("vocals",))),
    measures=(NSDR_MEASURE, SDR_MEASURE),
)
METRICS = (NSDR(), Museval())
PLACE = "toy-1a2b/demo-test/nsdr+museval"


def results_folder(root: Path, system: System = SYSTEM, protocol: Protocol = PROTOCOL) -> Any:
    return ResultsFolder(root, system, protocol, METRICS)


def result(name: str, bass: float, vocals: float, silent: bool = False) -> TrackResult:
    bass_silence = Silence(True, 20, -40.0) if silent else Silence(False, 0, NAN)
    scores = {"bass": NAN if silent else bass, "vocals": vocals}
    framewise = dict.fromkeys(scores, NAN) if silent else scores
    baseline = {"bass": NAN if silent else -1.0, "vocals": 0.5}
    return TrackResult(
        track=name,
        length=882000,
        samplerate=44100,
        recorded_mixture=True,
        scores={"nsdr": scores, "museval_sdr": framewise},
        do_nothing={"nsdr": baseline, "museval_sdr": baseline},
        frames={"museval_sdr": FrameCount(0 if silent else 20, 20)},
        silence={"bass": bass_silence, "vocals": Silence(False, 2, -60.0)},
        remarks=("hear, hear",) if name == "c" else (),
    )


RESULTS = (
    result("a", 1.0, 2.0),
    result("b", 2.0, 4.0),
    result("c", 9.0, 6.0),
    result("d", 7.0, 10.0, silent=True),
)


def test_songs_are_aggregated_as_the_measure_says() -> None:
    summary = summarise(RESULTS, PROTOCOL.measures, PROTOCOL.targets.sources)
    nsdr, sdr = summary.measures
    assert nsdr.sources["bass"].score == 4.0  # the mean of 1, 2, 9: the silent song is left out
    assert (nsdr.sources["bass"].tracks, nsdr.sources["bass"].undefined) == (3, 1)
    assert nsdr.sources["bass"].do_nothing == -1.0
    assert nsdr.sources["bass"].difference == 5.0
    assert nsdr.sources["vocals"].score == 5.5
    assert (nsdr.sources["vocals"].tracks, nsdr.sources["vocals"].undefined) == (4, 0)
    assert nsdr.mean.score == 4.75
    assert nsdr.mean.difference == 5.0
    assert sdr.sources["bass"].score == 2.0  # the median of 1, 2, 9
    assert sdr.sources["vocals"].score == 4.0  # of 2, 4, 6: no frame of the silent song is defined
    assert summary.silence["bass"].tracks == 1
    assert summary.silence["bass"].leakage == -40.0
    assert summary.silence["vocals"].tracks == 0
    assert (summary.silence["vocals"].leaking_tracks, summary.silence["vocals"].leakage) == (4, -60)


def test_a_measure_without_a_bar_to_beat() -> None:
    without = [replace(of_song, do_nothing={}) for of_song in RESULTS]
    summary = summarise(without, [NSDR_MEASURE], PROTOCOL.targets.sources).measures[0]
    assert summary.sources["vocals"].score == 5.5
    assert (summary.sources["vocals"].do_nothing, summary.mean.difference) == (None, None)


def test_a_source_that_is_silent_everywhere_has_no_score() -> None:
    summary = summarise(RESULTS[3:], [NSDR_MEASURE], PROTOCOL.targets.sources)
    bass, mean = summary.measures[0].sources["bass"], summary.measures[0].mean
    assert (bass.score, bass.difference, bass.tracks, bass.undefined) == (None, None, 0, 1)
    # of the sources that have one
    assert (mean.score, mean.do_nothing, mean.sources) == (10.0, 0.5, 1)
    text = render_summary(summary, PROTOCOL)
    assert "0 of 1" in text
    assert "mean of 1 sources  10.00        0.50       +9.50" in text
    assert "bass: silent throughout in 1 of 1 song, where it has no score" in text


def test_infinities_of_both_signs_have_no_mean() -> None:
    perfect, hopeless = result("a", math.inf, 1.0), result("b", -math.inf, 2.0)
    (nsdr,) = summarise([perfect, hopeless], [NSDR_MEASURE], ("bass", "vocals")).measures
    assert math.isnan(nsdr.sources["bass"].score or 0)
    assert nsdr.sources["vocals"].score == 1.5
    (nsdr,) = summarise([perfect], [NSDR_MEASURE], ("bass", "vocals")).measures
    assert nsdr.mean.score == math.inf


def test_files(tmp_path: Path) -> None:
    folder = results_folder(tmp_path)
    folder.prepare()
    for of_song in RESULTS:
        folder.write_track(of_song)
    summary = folder.write_summary(RESULTS)
    root = tmp_path / PLACE
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*.json")) == [
        "settings.json",
        "summary.json",
        *(f"tracks/{name}.json" for name in "abcd"),
    ]

    track = strict_json(root / "tracks" / "d.json")
    assert track["scores"]["nsdr"] == {"bass": None, "vocals": 10.0}
    assert track["silence"]["bass"] == {"whole": True, "frames": 20, "leakage": -40.0}
    assert track["frames"]["museval_sdr"] == {"used": 0, "total": 20}
    assert track["protocol"]["measures"]["nsdr"]["id"] == PROTOCOL.id(NSDR_MEASURE)

    written = strict_json(root / "summary.json")
    assert written["scores"]["nsdr"]["sources"]["bass"] == {
        "score": 4.0,
        "do_nothing": -1.0,
        "difference": 5.0,
        "tracks": 3,
        "undefined": 1,
    }
    assert written["scores"]["nsdr"]["frames"] is None
    assert written["scores"]["museval_sdr"]["frames"] == {"used": 60, "total": 80}
    assert written["tracks"] == ["a", "b", "c", "d"]
    assert written["remarks"] == {"c": ["hear, hear"]}
    assert written["system"] == {
        "name": "toy-1a2b",
        "label": None,
        "members": [],
        "weights": None,
        "content": None,
        "stemgrid": mss.__version__,
        "inference": {
            "segment": "39/5",
            "overlap": 0.25,
            "window": "triangle",
            "normalise": "none",
            "context": "0",
            "tail": "short",
        },
        "batch_size": 1,
        "shifts": 0,
        "seed": 0,
        "precision": "float32",
        "device": "cpu",
    }
    measure = written["protocol"]["measures"]["nsdr"]
    assert measure["id"] == PROTOCOL.id(NSDR_MEASURE)
    assert measure["over_tracks"] == "mean"
    assert "whole song" in measure["definition"]
    assert written["protocol"]["fingerprint"] == "ab" * 32
    settings = strict_json(root / "settings.json")
    assert settings["system"] == written["system"]
    assert settings["protocol"] == written["protocol"] == track["protocol"]
    assert track["system"] == written["system"]

    table = folder.index_scores(summary)
    assert table[PROTOCOL.id(NSDR_MEASURE)] == {"bass": 4.0, "vocals": 5.5, "mean": 4.75}
    # the same evaluation again is the same file
    before = (root / "summary.json").read_bytes()
    results_folder(tmp_path).write_summary(RESULTS)
    assert (root / "summary.json").read_bytes() == before


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    folder = results_folder(tmp_path)
    perfect = replace(RESULTS[0], scores={"nsdr": {"bass": math.inf, "vocals": 0.1 + 0.2}})
    for of_song in (perfect, RESULTS[3]):
        folder.write_track(of_song)
        # NaN equals nothing, itself included: compare the texts
        assert repr(folder.read_track(of_song.track)) == repr(of_song)
    assert folder.read_track("e") is None
    # made otherwise, whatever the settings beside it say
    other = results_folder(tmp_path, replace(SYSTEM, content="1234"))
    assert other.read_track("a") is None
    path = tmp_path / PLACE / "tracks" / "a.json"
    text = path.read_text()
    for damaged in ("{", "[]", "{}", text.replace('"length"', '"lenght"')):
        path.write_text(damaged)
        with pytest.raises(DataError, match=r"tracks/a\.json: is not"):
            folder.read_track("a")


def test_songs_of_another_evaluation_are_not_its_scores(tmp_path: Path) -> None:
    for system in (SYSTEM, replace(SYSTEM, content="other stems")):
        folder = results_folder(tmp_path, system)
        for of_song in RESULTS[: 4 if system == SYSTEM else 1]:
            folder.write_track(of_song)
        if system == SYSTEM:
            folder.write_summary(RESULTS)
            assert len(read_results(folder.path).tracks) == 4
    with pytest.raises(DataError, match=r"a\.json: is not of the same evaluation.*system.content"):
        read_results(folder.path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        results_folder(tmp_path).claim(),
        pytest.raises(ConfigError, match="another process evaluates"),
        results_folder(tmp_path).claim(),
    ):
        raise AssertionError
    with results_folder(tmp_path).claim():
        pass


def test_stored_results(tmp_path: Path) -> None:
    folder = results_folder(tmp_path, replace(SYSTEM, label="magnitude-mask oracle"))
    with pytest.raises(DataError, match=r"holds no summary\.json; test_pretrained"):
        read_results(folder.path)
    folder.prepare()
    with pytest.raises(DataError, match="evaluation has not ended"):
        read_results(folder.path)
    for of_song in RESULTS:
        folder.write_track(of_song)
    folder.write_summary(RESULTS)
    stored = read_results(folder.path)
    assert (stored.system, stored.dataset, stored.split) == ("toy-1a2b", "demo", "test")
    assert stored.label == "magnitude-mask oracle"
    assert stored.fingerprint == "ab" * 32
    assert stored.sources == ("bass", "vocals")
    assert stored.measures == {"nsdr": NSDR_MEASURE, "museval_sdr": SDR_MEASURE}
    assert stored.ids["nsdr"] == PROTOCOL.id(NSDR_MEASURE)
    assert list(stored.tracks) == ["a", "b", "c", "d"]
    assert stored.tracks["b"]["nsdr"] == {"bass": 2.0, "vocals": 4.0}
    assert math.isnan(stored.tracks["d"]["nsdr"]["bass"])


def test_frames_in_musevals_layout(tmp_path: Path) -> None:
    frames = {"bass": [1.234567, NAN], "vocals": [math.inf, -3.0]}
    framewise = {f"museval_{name}": frames for name in ("sdr", "isr", "sir", "sar")}
    folder = results_folder(tmp_path)
    folder.write_track(replace(RESULTS[0], framewise=framewise))
    path = tmp_path / PLACE / "museval_reference" / "test" / "a.json"
    read = read_museval_json(path)
    assert list(read) == ["bass", "vocals"]
    for metric in ("SDR", "ISR", "SIR", "SAR"):
        assert repr(read["bass"][metric]) == repr([1.23457, NAN])
        assert repr(read["vocals"][metric]) == repr([NAN, -3.0])  # as museval has infinities
    second = json.loads(path.read_text())["targets"][0]["frames"][1]
    assert (second["time"], second["duration"]) == (1.0, 1.0)
    for damaged in ("{", "{}", '{"targets": [{"name": "bass", "frames": [1]}]}'):
        path.write_text(damaged)
        with pytest.raises(DataError, match="not a song's scores in museval's layout"):
            read_museval_json(path)
    with pytest.raises(DataError, match="could not be read"):
        read_museval_json(path.with_name("b.json"))


def strict_json(path: Path) -> Any:
    """Read JSON that knows no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_numbers_that_json_has_not() -> None:
    assert plain_numbers({"a": (NAN, math.inf, -math.inf, 1.5, 2, None, "x")}) == {
        "a": [None, "inf", "-inf", 1.5, 2, None, "x"]
    }


def test_two_protocols_share_no_id() -> None:
    others = [
        replace(PROTOCOL, fingerprint="cd" * 32),
        replace(PROTOCOL, samplerate=48000),
        replace(PROTOCOL, channels=1),
        replace(PROTOCOL, split="valid"),
        replace(PROTOCOL, targets=TargetMap(("bass", "vocals"), (("bass", "drums"), ("vocals",)))),
    ]
    ids = [protocol.id(NSDR_MEASURE) for protocol in (PROTOCOL, *others)]
    ids.append(PROTOCOL.id(replace(NSDR_MEASURE, definition="another eps")))
    ids.append(PROTOCOL.id(replace(NSDR_MEASURE, over_tracks="median")))
    ids.append(PROTOCOL.id(SDR_MEASURE))
    assert len(set(ids)) == len(ids)
    assert ids[0].startswith("nsdr/demo/test@")
    swapped = replace(PROTOCOL, targets=TargetMap(("vocals", "bass"), (("vocals",), ("bass",))))
    assert swapped.id(NSDR_MEASURE) == ids[0]  # an order is no other protocol


@pytest.mark.parametrize(
    ("system", "protocol", "difference"),
    [
        (SYSTEM, replace(PROTOCOL, fingerprint="cd" * 32), "protocol.fingerprint was 'abab"),
        (replace(SYSTEM, shifts=2), PROTOCOL, "system.shifts was 0, is 2"),
        (replace(SYSTEM, device="cuda"), PROTOCOL, "system.device was 'cpu', is 'cuda'"),
        (replace(SYSTEM, weights=((1.0, 0.0),)), PROTOCOL, "system.weights was None"),
        (replace(SYSTEM, members=("x-1a",)), PROTOCOL, "system.members was [], is ['x-1a']"),
    ],
)
def test_results_made_otherwise_are_not_mixed(
    tmp_path: Path, system: System, protocol: Protocol, difference: str
) -> None:
    results_folder(tmp_path).prepare()
    results_folder(tmp_path).write_track(RESULTS[0])
    half_written = tmp_path / PLACE / "tracks" / ".b.json.x7.json"
    half_written.touch()
    results_folder(tmp_path).prepare()  # the same again is fine
    assert not half_written.exists()
    other = results_folder(tmp_path, system, protocol)
    with pytest.raises(ConfigError, match="made otherwise") as caught:
        other.prepare()
    assert difference in str(caught.value)
    assert "--anew" in str(caught.value)
    assert results_folder(tmp_path).read_track("a") is not None
    other.prepare(anew=True)
    assert not list((tmp_path / PLACE).rglob("a.json"))
    other.prepare()
    (tmp_path / PLACE / "settings.json").write_text("{")
    with pytest.raises(DataError, match=r"settings\.json: is not JSON"):
        other.prepare()


def test_table() -> None:
    text = render_summary(summarise(RESULTS, PROTOCOL.measures, PROTOCOL.targets.sources), PROTOCOL)
    nsdr, sdr, silent, remark, note = text.split("\n\n")
    assert PROTOCOL.id(NSDR_MEASURE) in nsdr.splitlines()[0]
    assert "mean over songs, higher is better" in nsdr
    rows = [line.split() for line in nsdr.splitlines()[2:]]
    assert rows == [
        ["bass", "4.00", "-1.00", "+5.00", "3", "of", "4"],
        ["vocals", "5.50", "0.50", "+5.00", "4"],
        ["mean", "4.75", "-0.25", "+5.00"],
    ]
    assert "median over songs" in sdr
    assert sdr.splitlines()[1].startswith("without 20 of 80 frames")
    assert "frames" not in nsdr
    assert silent.startswith("bass: silent throughout in 1 of 4 songs")
    assert "leakage -40.00 dB" in silent
    assert remark == "c: hear, hear"
    assert "best constant gain" in note
