"""Release trained runs: ``python -m tools.export SIG... | --grid NAME [-o release_models]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mss.core.errors import ConfigError, StemgridError, nearest_name_hint
from mss.release.header import NO_LICENCE
from mss.release.repo import LOCAL_REPO, Repo


def main(argv: Sequence[str] | None = None) -> int:
    """Export the best weights of runs, print the released files' paths, return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    if sum((bool(args.sig), args.grid is not None, args.reindex)) != 1:
        parser.error("give signatures of runs, --grid NAME or --reindex")
    if args.default and len(args.sig) != 1:
        parser.error("--default: give one signature")
    left_out: list[str] = []
    try:
        if args.reindex:
            for entry in Repo(args.out).reindex():
                print(entry.name)
        signatures = args.sig
        if args.grid is not None:
            signatures, left_out = runs_of_grid(args.grid)
        for sig in signatures:
            print(export_run(sig, args.out, licence=args.licence, default=args.default))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"export: {error}", file=sys.stderr)
        return 1
    for told in left_out:
        print(f"export: {told}", file=sys.stderr)
    return 1 if left_out else 0


def runs_of_grid(name: str) -> tuple[list[str], list[str]]:
    """Return the signatures of a grid's finished runs, and a sentence on each other run.

    Raises:
        ConfigError: there is no such grid here, or none of its runs is finished.
    """
    from mss.compose import compose_config
    from mss.trained import epochs_of

    grids = Path(compose_config().dora.dir) / "grids"
    if not (grids / name).is_dir() or Path(name).name != name:
        known = [path.name for path in grids.iterdir()] if grids.is_dir() else []
        hint = nearest_name_hint(name, known)
        raise ConfigError(f"--grid {name}: no run of such a grid here.{hint}")
    finished, left_out = [], []
    for sig in sorted(link.name for link in (grids / name).iterdir()):
        done, planned = epochs_of(sig)
        if planned and done >= planned:
            finished.append(sig)
        else:
            left_out.append(f"{sig}: {done} of {planned or '?'} epochs done; left out")
    if not finished:
        raise ConfigError(f"--grid {name}: none of its {len(left_out)} runs is finished")
    return finished, left_out


def export_run(sig: str, out: Path, *, licence: str = NO_LICENCE, default: bool = False) -> Path:
    """Export the run `sig` into the repo `out`; return the released file's path."""
    # Here, not above: these bring hydra and dora in, which --help and --reindex don't need.
    from mss.release.export import export_model
    from mss.trained import load_trained

    run = load_trained(sig)
    return export_model(
        run.model,
        out,
        arch=run.arch,
        signature=run.signature,
        provenance=run.provenance,
        scores=run.scores,
        licence=licence,
        created=run.provenance.get("created"),
        default=default,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.export",
        description="Write the best weights of each trained run as one released file, and list it.",
    )
    parser.add_argument("sig", nargs="*", metavar="SIG", help="signature of a run (dora info)")
    parser.add_argument("--grid", metavar="NAME", help="every finished run of a grid instead")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path(LOCAL_REPO), help="folder (default: %(default)s)"
    )
    parser.add_argument("--default", action="store_true", help="make it the default model")
    parser.add_argument(
        "--licence", default=NO_LICENCE, help="of the weights (default: %(default)s)"
    )
    parser.add_argument(
        "--reindex", action="store_true", help="list the files that lie in the folder instead"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
