"""What each architecture costs, beside its reference: ``python -m tools.bench models``.

For each model: parameters, arithmetic for a second of audio, how much faster than the music it is
on one and on two CPU threads, and the memory of one chunk. Where a reference implementation can be
installed, both take turns in processes of their own, in CPU-seconds on one thread; the ratio is the
median over the pairs of turns, with its bootstrap interval. Weights are random: they cost the same.

    python -m tools.bench models                     all of it, about an hour; nothing beside it
    python -m tools.bench models scnet htdemucs      these rows; earlier ones of others are kept
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, DataError, StemgridError
from mss.core.files import write_json_atomic
from tools.bench_flops import model_facts, our_forward
from tools.bench_peers import MODEL_PEERS
from tools.bench_worker import Turn, Worker

OUT = Path("outputs/bench/models.json")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        preset: of conf/model.
        seconds: of audio in one turn: a chunk, or less of it where a turn would take minutes.
        sources: of the model.
        peer: name of the reference in MODEL_PEERS; None: there is none to install.
        part: "forward" (the mixture to waves), or "network" where the reference has no more.
        overrides: of the preset.
    """

    preset: str
    seconds: float
    sources: tuple[str, ...] = ("drums", "bass", "other", "vocals")
    peer: str | None = None
    part: str = "forward"
    overrides: tuple[str, ...] = ()


ROWS = (
    Row("demucs", 10, peer="demucs"),
    Row("hdemucs", 10, peer="hdemucs"),
    Row("htdemucs", 7.8, peer="htdemucs"),
    Row("openunmix", 6, peer="openunmix"),
    Row("xumx", 6, peer="xumx", part="network"),
    Row("bsrnn", 3, sources=("vocals",)),
    Row("d3net", 6, sources=("vocals",), overrides=("model.niter=0",)),
    Row("bs_roformer_small", 4, peer="bs_roformer"),
    Row("mel_roformer", 3, sources=("vocals",), peer="mel_roformer"),
    Row("scnet", 11, peer="scnet"),
    Row("mdx23c", 261120 / 44100, peer="mdx23c"),
    Row("spleeter", 11.8, sources=("vocals", "accompaniment"), peer="spleeter", part="network"),
)


@dataclass(frozen=True)
class ModelResult:
    """A row as it was measured; `ratio` is how many times as fast as the reference (CPU time)."""

    preset: str
    sources: int
    seconds: float
    parameters: int
    gflop_per_second: float
    realtime_1: float
    realtime_2: float
    peak_gib: float
    peer: str | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    memory_ratio: float | None = None
    rounds: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the rows that are asked for; print their table and keep each as JSON at once."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench models", description=__doc__.partition("\n")[0]
    )
    known = [row.preset for row in ROWS]
    parser.add_argument("models", nargs="*", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each side")
    args = parser.parse_args(argv)
    try:
        if unknown := [name for name in args.models if name not in known]:
            raise ConfigError(f"{unknown[0]}: no such row; known: {', '.join(known)}")
        if args.rounds < 3:
            raise ConfigError(f"--rounds {args.rounds}: a median needs 3 at least")
        results, stored = [], _stored()
        for row in ROWS:
            if not args.models or row.preset in args.models:
                results.append(measure(row, args.rounds))
                print(line(results[-1]), file=sys.stderr, flush=True)
                stored[row.preset] = asdict(results[-1])
                write_json_atomic(OUT, {"results": list(stored.values())})
    except (StemgridError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(table(results))
    return 0


def _stored() -> dict[str, dict[str, Any]]:
    """Return the rows of earlier calls by their presets."""
    try:
        rows = json.loads(OUT.read_text(encoding="utf-8"))["results"]
        return {row["preset"]: row for row in rows}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{OUT}: not a file of this benchmark ({error!r}); delete it") from error


def measure(row: Row, rounds: int) -> ModelResult:
    """Let ours and the reference take turns on one thread; then ours alone on two."""
    options = {"threads": 1, "device": "cpu", **asdict(row)}
    parameters, gflop = model_facts([row.preset, *row.overrides], row.sources, row.seconds)
    ours, theirs, peak, memory_ratio = _turns(row, options, rounds)
    # fewer turns suffice for a figure that no ratio is made of
    two_threads, _, _, _ = _turns(
        Row(**{**asdict(row), "peer": None}), {**options, "threads": 2}, 3
    )
    interval: dict[str, Any] = {}
    if theirs:
        ratios = [peer.cpu / our.cpu for our, peer in zip(ours, theirs, strict=True)]
        low, high = median_interval(ratios)
        interval = {
            "peer": MODEL_PEERS[row.peer].name if row.peer else None,
            "ratio": statistics.median(ratios),
            "ratio_low": low,
            "ratio_high": high,
            "memory_ratio": memory_ratio,
        }
    return ModelResult(
        row.preset,
        len(row.sources),
        row.seconds,
        parameters,
        gflop,
        statistics.median(turn.rate for turn in ours),
        statistics.median(turn.rate for turn in two_threads),
        peak,
        rounds=rounds,
        **interval,
    )


def _turns(
    row: Row, options: dict[str, Any], rounds: int
) -> tuple[list[Turn], list[Turn], float, float | None]:
    """Return our turns, the reference's, our peak (GiB) and the ratio of what the turns added."""
    sides: list[Callable[[dict[str, Any]], Callable[[], float]]] = [our_forward]
    if row.peer is not None:
        sides.append(MODEL_PEERS[row.peer].prepare)
    workers = [Worker(side, options) for side in sides]
    try:
        for worker in workers:
            worker.turn()  # the first one pays for caches and lazy set-up
        turns = [[worker.turn() for worker in workers] for _ in range(rounds)]
        growths = [worker.growth_gib() for worker in workers]
        peak = workers[0].peak_gib()
    finally:
        for worker in workers:
            worker.end()
    ours = [turn[0] for turn in turns]
    if row.peer is None:
        return ours, [], peak, None
    known = growths[0] is not None and growths[1]
    memory_ratio = growths[0] / growths[1] if known and growths[0] and growths[1] else None
    return ours, [turn[1] for turn in turns], peak, memory_ratio


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of the median."""
    import numpy as np
    from scipy import stats

    found = stats.bootstrap(
        (np.asarray(values),), np.median, method="percentile", rng=np.random.default_rng(0)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


HEAD = (
    "| model | sources | parameters | GFLOP per s of audio | x real time, 1 / 2 threads "
    "| peak memory | against | speed (95 %) | memory |"
)


def table(results: Sequence[ModelResult]) -> str:
    """Return the results as a Markdown table."""
    return "\n".join([HEAD, "|---" * (HEAD.count("|") - 1) + "|", *map(line, results)])


def line(result: ModelResult) -> str:
    """Return one line of the table."""
    speed = memory = "-"
    if result.ratio is not None:
        speed = f"{result.ratio:.2f} ({result.ratio_low:.2f}-{result.ratio_high:.2f})"
    if result.memory_ratio is not None:
        memory = f"{result.memory_ratio:.2f}"
    return (
        f"| {result.preset} | {result.sources} | {result.parameters / 1e6:.2f} M "
        f"| {result.gflop_per_second:.1f} | {result.realtime_1:.2f} / {result.realtime_2:.2f} "
        f"| {result.peak_gib:.2f} GiB ({result.seconds:.3g} s) | {result.peer or '-'} | {speed} "
        f"| {memory} |"
    )
