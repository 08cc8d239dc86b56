"""Run a grid on this machine, or see what it would submit to SLURM.

    python -m tools.grid smoke --local --jobs 2       # the runs of `dora grid smoke`, here
    python -m tools.grid smoke --plan                 # what they are, and each job's sbatch text
    python -m tools.grid smoke hdemucs !mse --local   # those whose name has the one, not the other

The runs are those of `dora grid`: the same signatures, folders, order and table. Each trains in a
process of its own by `dora run`, which writes to local.log in the run's folder. What is finished is
left alone, what failed is started again. A run takes as many GPUs as it asks of SLURM and has them
to itself; where the machine has fewer, fewer ranks share the same batch; where it has none at all,
as many CPU processes. Ctrl-C or TERM stops the runs behind a checkpoint, from which the same
command goes on.

Exits with 1 if a run failed, with 130 or 143 if it was stopped.
"""

import argparse
import sys
from collections.abc import Sequence

from mss.core.errors import StemgridError


def main(argv: Sequence[str] | None = None) -> int:
    """Run or plan a grid; return the exit status."""
    parser = _parser()
    args = parser.parse_intermixed_args(argv)
    try:
        # Here, not above: these bring torch, hydra and dora in, which --help does not need.
        from mss.train import main as train_main
        from tools.grid_runs import gather

        runs = gather(train_main, args.grid, args.patterns, args.override)
        if args.plan:
            from tools.grid_plan import plan

            print(plan(train_main, runs))
            return 0
        from tools.grid_local import run_here

        return run_here(train_main, runs, args.jobs, refresh=args.refresh, grace=args.grace)
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"grid: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the first run started, or after the last
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.grid",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("grid", metavar="NAME", help="of a file in grids/")
    parser.add_argument(
        "patterns", nargs="*", help="only runs whose name has all of them; !PART: has not; an index"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--local", action="store_true", help="run it on this machine")
    what.add_argument("--plan", action="store_true", help="print runs and jobs; writes nothing")
    parser.add_argument(
        "--jobs", type=_positive, help="runs at a time (default: one a GPU; without GPUs, one)"
    )
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for every run, of a key outside the signature, such as misc.workers=0",
    )
    parser.add_argument(
        "--refresh",
        type=float,
        default=30,
        metavar="S",
        help="seconds between tables (default: 30)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=300,
        metavar="S",
        help="seconds that a stopped run has for its checkpoint (300)",
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
