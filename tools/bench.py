"""How fast is it, beside a peer, in one run? ``make bench``.

Each side of a pair works in a process of its own and the two take turns, so that what else goes on
on the machine meets both; medians of each side's times give a ratio. Seconds on a shared machine
mean little, ratios mean something: differences below a tenth are noise.

    python -m tools.bench                     all of it, on the CPU
    python -m tools.bench step --threads 2    one pair
    python -m tools.bench step --device cuda --precision bf16 --compile
    python -m tools.bench models              the table of architectures (tools/bench_models.py)
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, StemgridError
from mss.core.files import write_json_atomic
from tools import bench_models
from tools.bench_augment import AUGMENT_PAIRS
from tools.bench_distill import DISTILL_PAIRS
from tools.bench_evaluation import EVALUATION_PAIRS
from tools.bench_loader import LOADER_PAIRS
from tools.bench_pair import Pair, Side
from tools.bench_separation import SEPARATION_PAIRS
from tools.bench_step import STEP_PAIRS
from tools.bench_worker import Worker

OUT = Path("outputs/bench/bench.json")


@dataclass(frozen=True)
class Result:
    """Medians over the rounds of one pair; memory is the peak of each side's process."""

    name: str
    unit: str
    peer_name: str
    ours_per_second: float
    peer_per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    ours_gib: float
    peer_gib: float
    rounds: int


PAIRS = {
    pair.name: pair
    for pair in (
        *STEP_PAIRS,
        *LOADER_PAIRS,
        *AUGMENT_PAIRS,
        *EVALUATION_PAIRS,
        *SEPARATION_PAIRS,
        *DISTILL_PAIRS,
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pairs that are asked for; print a table and keep it as JSON."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["models"]:
        return bench_models.main(words[1:])
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("pairs", nargs="*", help=f"of {', '.join(PAIRS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", help="of our side's training step")
    parser.add_argument("--fused", action="store_true", help="our side's update")
    parser.add_argument("--compile", action="store_true", help="our side's network")
    parser.add_argument("--channels-last", action="store_true", help="our side's network")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.5, help="of one segment")
    parser.add_argument("--song-seconds", type=float, default=240, help="of a song that is scored")
    parser.add_argument(
        "--recording-seconds", type=float, default=30, help="of a recording that is separated"
    )
    args = parser.parse_args(words)
    options = {key: value for key, value in vars(args).items() if key not in ("pairs", "rounds")}
    try:
        unknown = [name for name in args.pairs if name not in PAIRS]
        if unknown:
            raise ConfigError(f"{unknown[0]}: no such pair; known: {', '.join(PAIRS)}")
        results = [measure(PAIRS[name], options, args.rounds) for name in args.pairs or PAIRS]
        write_json_atomic(OUT, {"options": options, "results": [asdict(r) for r in results]})
    except (StemgridError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(table(results))
    print(f"\n{args.threads} thread(s) a side, {args.device}; kept in {OUT}")
    return 0


def measure(pair: Pair, options: dict[str, Any], rounds: int) -> Result:
    """Let the two sides take turns."""
    if pair.peer_once:
        return _measure_once(pair, options, rounds)
    sides = [Worker(side, options) for side in (pair.ours, pair.peer)]
    try:
        for side in sides:
            side.turn()  # the first one pays for caches and lazy set-up
        turns = [[side.turn().rate for side in sides] for _ in range(rounds)]
        ours_gib, peer_gib = (side.peak_gib() for side in sides)
    finally:
        for side in sides:
            side.end()
    return _result(pair, turns, ours_gib, peer_gib)


_ONCE: dict[Side, tuple[float, float]] = {}
"""The rate and memory of peers that took their one turn."""


def _measure_once(pair: Pair, options: dict[str, Any], rounds: int) -> Result:
    """Let the peer take one turn, if it has not, and ours as many as there are rounds."""

    def measured(side: Side, turns: int) -> tuple[list[float], float]:
        worker = Worker(side, options)
        try:
            return [worker.turn().rate for _ in range(turns)], worker.peak_gib()
        finally:
            worker.end()

    if pair.peer not in _ONCE:
        rates, memory = measured(pair.peer, 1)
        _ONCE[pair.peer] = rates[0], memory
    peer, peer_gib = _ONCE[pair.peer]
    ours, ours_gib = measured(pair.ours, rounds)
    return _result(pair, [[rate, peer] for rate in ours], ours_gib, peer_gib)


def _result(
    pair: Pair, turns: Sequence[Sequence[float]], ours_gib: float, peer_gib: float
) -> Result:
    """Return the medians of turns, each ours and the peer's units a second."""
    ours, peer = ([turn[index] for turn in turns] for index in range(2))
    ratios = sorted(one / other for one, other in turns)
    return Result(
        pair.name,
        pair.unit,
        pair.peer_name,
        statistics.median(ours),
        statistics.median(peer),
        statistics.median(ratios),
        ratios[len(ratios) // 4],
        ratios[-1 - len(ratios) // 4],
        ours_gib,
        peer_gib,
        len(turns),
    )


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| what | ours | peer | ratio (quartiles) | memory, ours / peer |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        cells = (
            r.name,
            _rate(r.ours_per_second, r.unit),
            f"{_rate(r.peer_per_second, r.unit)} ({r.peer_name})",
            f"{r.ratio:.2f} ({r.ratio_low:.2f}-{r.ratio_high:.2f})",
            f"{r.ours_gib:.2f} / {r.peer_gib:.2f} GiB",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rate(per_second: float, unit: str) -> str:
    """Return "12 segments/s", or "8.3 s a song" of what takes longer than a second."""
    if per_second < 1:
        return f"{1 / per_second:.3g} s a{'n' * (unit[0] in 'aeiou')} {unit.removesuffix('s')}"
    return f"{per_second:.3g} {unit}/s"


if __name__ == "__main__":
    sys.exit(main())
