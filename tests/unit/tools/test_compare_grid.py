"""The configurations of a grid, compared by the tests of their runs."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from mss.core.errors import ConfigError
from mss.metrics.energy import NSDR
from mss.solver.checkpoint import checkpoint_path
from tools.compare import compare_grid
from tools.compare_grid import Configuration, choose, choose_one, grid_configurations, paired
from tools.grid_runs import gather

NAMES = ("loss=l1", "loss=truncated quantile=0.7", "loss=truncated quantile=0.5")


def configuration(name: str, *seeds: int) -> Configuration:
    signatures = tuple(f"{name}-{seed}" for seed in seeds)
    return Configuration(name, seeds, signatures, tuple(map(Path, signatures)), 10)


THREE = [configuration(name, 42, 43) for name in NAMES]


def test_a_pattern_names_those_that_have_all_its_parts_and_not_the_others():
    assert [c.name for c in choose(THREE, "truncated")] == list(NAMES[1:])
    assert [c.name for c in choose(THREE, "truncated !0.5")] == [NAMES[1]]
    assert choose_one(THREE, "l1") is THREE[0]
    both = [configuration("dset=demo_large"), configuration("dset=demo_large_noisy")]
    assert choose_one(both, "dset=demo_large") is both[0]
    with pytest.raises(ConfigError, match=r"truncated: names 2 configurations .* say more"):
        choose_one(THREE, "truncated")
    with pytest.raises(ConfigError, match="loss=mse: no configuration of the grid has that"):
        choose(THREE, "loss=mse")


def test_configurations_are_compared_by_the_seeds_that_all_have():
    some = [configuration("a", 44, 42, 43), configuration("b", 43, 44)]
    assert [c.seeds for c in paired("pskd", some)] == [(43, 44), (43, 44)]
    assert paired("pskd", some)[0].signatures == ("a-43", "a-44")
    assert paired("pskd", some)[0].folders == (Path("a-43"), Path("a-44"))
    with pytest.raises(ConfigError, match=r"no run of b is finished; .* goes on"):
        paired("pskd", [configuration("a", 42), configuration("b")])
    with pytest.raises(ConfigError, match="they share no seed"):
        paired("pskd", [configuration("a", 42), configuration("b", 43)])


def finish(xp, level: float) -> None:
    """Leave what a finished run does; song i scores level + i."""
    xp.folder.mkdir(parents=True, exist_ok=True)
    valid = {"nsdr": level, "best": level, "full": True, "seconds": 6.0}
    epochs = [{"train": {"seconds": 30.0}, "valid": valid} for _ in range(xp.cfg.train.epochs)]
    epochs[-1]["test"] = {"nsdr": level}
    (xp.folder / "history.json").write_text(json.dumps(epochs))
    checkpoint_path(xp.folder).touch()
    (measure,) = NSDR().measures
    content = {
        "dset": str(xp.cfg.dset.name),
        "split": "test",
        "fingerprint": "abc",
        "sources": ["drums"],
        "measures": {"nsdr": asdict(measure)},
        "inference": {},
        "shifts": 0,
        "tracks": {str(i): {"nsdr": {"drums": level + i}} for i in range(8)},
    }
    (xp.folder / "test_tracks.json").write_text(json.dumps(content))


def test_what_noise_cost_and_what_came_back(lab, monkeypatch):
    levels = {"demo_large_filtered": 3.5, "truncated": 2.0, "demo_large_noisy": 2.0}
    for sheep in gather(lab, "label_noise").sheeps:
        xp = sheep.xp
        if xp.cfg.seed == 44 and xp.cfg.dset.name == "demo_large":
            continue  # not finished
        level = next((v for part, v in levels.items() if part in " ".join(xp.argv)), 4.0)
        finish(xp, level + xp.cfg.seed - 42)

    found, unfinished = grid_configurations("label_noise")
    assert unfinished == 1
    assert [c.name for c in found] == [
        "dset=demo_large loss=l1",
        "dset=demo_large_noisy loss=l1",
        "dset=demo_large_noisy loss=truncated",
        "dset=demo_large_filtered loss=l1",
    ]
    assert [c.seeds for c in found] == [(42, 43), *[(42, 43, 44)] * 3]

    noisy = "dset=demo_large_noisy !truncated"
    text = compare_grid("label_noise", [noisy], unharmed="dset=demo_large", overall=True)
    lines = text.splitlines()
    compared = next(line for line in lines if line.startswith("dset=demo_large loss=l1 "))
    assert "4.50" not in compared  # the mean of songs 0 to 7 is 3.5 above the level
    assert "8.00 ±0.71" in compared and "6.00 ±0.71" in compared and "+2.00" in compared
    regained = text[text.index("What of the loss") :]
    assert "is regained" in regained
    filtered = next(line for line in regained.splitlines() if "filtered" in line)
    assert filtered.split()[2:] == ["nsdr", "2.00", "75%", "75%", "to", "75%"]
    truncated = next(line for line in regained.splitlines() if "truncated" in line)
    assert truncated.split()[2:] == ["nsdr", "2.00", "0%", "0%", "to", "0%"]
    assert text.count("  42, 43  ") == 4 and "43, 44" not in text
    assert "1 runs of the grid are not finished" in text
    with pytest.raises(ConfigError, match="--unharmed dset=demo_large: is the reference"):
        compare_grid("label_noise", unharmed="dset=demo_large")
