"""Two sides take turns, and the ratio is of what each did in its own time."""

import time
from typing import Any

import pytest

from tools import bench
from tools.bench_pair import Pair

OPTIONS = {"threads": 1, "device": "cpu"}


class Sleeper:
    """A side that works for some milliseconds and says how much it did."""

    def __init__(self, milliseconds: float, done: float) -> None:
        self.milliseconds = milliseconds
        self.done = done

    def __call__(self, options: dict[str, Any]) -> "Sleeper.Work":
        assert options == OPTIONS
        return Sleeper.Work(self)

    class Work:
        def __init__(self, side: "Sleeper") -> None:
            self.side = side

        def __call__(self) -> float:
            time.sleep(self.side.milliseconds / 1000)
            return self.side.done


class Broken:
    def __call__(self, options: dict[str, Any]) -> None:
        raise SystemExit(3)


def test_the_ratio_is_of_rates():
    """Ours does a thousand times as much in about the same time."""
    pair = Pair("toy", "things", Sleeper(5, 1000.0), Sleeper(5, 1.0), "peer 1.0")
    result = bench.measure(pair, OPTIONS, rounds=3)
    assert result.peer_per_second <= 1.0 / 0.005  # a sleep is never shorter than asked for
    assert result.ratio > 10
    assert result.ratio_low <= result.ratio <= result.ratio_high
    assert result.ours_gib > 0
    assert "| toy |" in bench.table([result])
    assert "peer 1.0" in bench.table([result])


def test_a_side_that_ends_is_told():
    pair = Pair("toy", "things", Broken(), Sleeper(1, 1.0), "peer")
    with pytest.raises(bench.ConfigError, match="one side of the comparison ended"):
        bench.measure(pair, OPTIONS, rounds=1)


def test_a_slow_peer_takes_one_turn_that_pairs_share():
    peer = Sleeper(300, 0.25)
    pairs = [Pair(name, "songs", Sleeper(5, 1.0), peer, "peer", peer_once=True) for name in "ab"]
    first, second = (bench.measure(pair, OPTIONS, rounds=3) for pair in pairs)
    assert first.peer_per_second == second.peer_per_second <= 0.25 / 0.3
    assert first.rounds == 3
    assert first.ratio > 10
    assert " s a song (peer)" in bench.table([first])


def test_an_unknown_pair_is_an_error(capsys):
    assert bench.main(["steps"]) == 1
    assert (
        "bench: steps: no such pair; known: step, loader-0, loader-2, stretch"
        in capsys.readouterr().err
    )
