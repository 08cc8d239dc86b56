"""Run a pipeline: steps that are made from what others give, each known by a signature.

    python -m tools.pipeline pseudo_label --data songs=DIR --plan     # steps, signatures, states
    python -m tools.pipeline pseudo_label --data songs=DIR --local    # here
    python -m tools.pipeline pseudo_label --data songs=DIR --slurm    # as jobs
    python -m tools.pipeline label_noise --data noisy=DIR --local --until filter

A step's signature is made of its parameters and of the signatures of what it is made from; that of
a run is Dora's. What is done is not done again. Another teacher, or other data, gives all that is
behind it other signatures and folders, and what was there stays. A failed step holds back what is
made from it, and nothing else. Ctrl-C or TERM stops; the same command goes on. Where several calls
run at once, each step is run by one of them.

Results lie in outputs/pipelines/steps/SIGNATURE/out; runs and released models, where always.

Exits with 1 if a step failed, with 130 or 143 if it was stopped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mss.core.errors import ConfigError, StemgridError

if TYPE_CHECKING:
    from tools.pipeline_plan import Plan


def main(argv: Sequence[str] | None = None) -> int:
    """Run, submit or show a pipeline; return the exit status."""
    args = _parser().parse_args(argv)
    try:
        # Here, not above: these bring torch, hydra and dora in, which --help does not need.
        from mss.train import main as train_main
        from tools.pipeline_planner import load_pipeline, make_plan

        pipeline = load_pipeline(args.pipeline)
        plan = make_plan(train_main, args.pipeline, pipeline, dict(args.data), args.override)
        if args.until is not None:
            plan.require(args.until, "--until")
        if args.anew is not None:
            plan.require(args.anew, "--from")
        if args.plan:
            _show(plan, args.until)
            return 0
        if args.anew is not None:
            _put_aside(plan, args.anew)
        if args.slurm:
            from tools.pipeline_slurm import submit

            return submit(train_main, plan, args.until)
        from tools.pipeline_local import run_here

        return run_here(plan, args.until, args.jobs, args.grace)
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"pipeline: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the first step started, or after the last
        return 130


def _show(plan: Plan, until: str | None) -> None:
    """Print all there is to know before anything runs."""
    from tools.pipeline_slurm import under_way
    from tools.pipeline_state import commands, overview, states

    jobs = under_way(plan) if shutil.which("squeue") is not None else {}
    print(overview(plan, states(plan, until, jobs)))
    print(f"\n{commands(plan)}")


def _put_aside(plan: Plan, name: str) -> None:
    """Move away what a step made, and all that was made from it."""
    from tools.pipeline_again import put_aside
    from tools.pipeline_slurm import under_way

    names = plan.behind(name)
    jobs = under_way(plan) if shutil.which("squeue") is not None else {}
    for other in names:
        if other in jobs:
            raise ConfigError(
                f"--from {name}: {other} is in job {jobs[other].id}; cancel it by "
                f"`scancel {jobs[other].id}` or wait for its end"
            )
    for path in put_aside(plan, names):
        print(f"put aside: {path}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pipeline", metavar="NAME", help="of a file in tools/pipelines/")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--plan", action="store_true", help="print steps and states; starts nothing")
    what.add_argument("--local", action="store_true", help="run it on this machine")
    what.add_argument("--slurm", action="store_true", help="submit a job for each step")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        type=_named_path,
        metavar="NAME=PATH",
        help="where data lies that the pipeline is made from",
    )
    parser.add_argument("--until", metavar="STEP", help="this step and what it needs, no others")
    parser.add_argument(
        "--from",
        dest="anew",
        metavar="STEP",
        help="put aside what this step made, and all that was made from it, and make it anew",
    )
    parser.add_argument(
        "--jobs", type=_positive, help="of --local: steps at a time (default: one a GPU, or one)"
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
        "--grace",
        type=float,
        default=300,
        metavar="S",
        help="of --local: seconds that a stopped run has for its checkpoint (300)",
    )
    return parser


def _named_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text}: write NAME=PATH")
    return name, Path(path).expanduser()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
