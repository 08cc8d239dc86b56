"""Release a trained run: ``python -m tools.export SIG [-o release_models]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mss.core.errors import StemgridError
from mss.release.header import NO_LICENCE
from mss.release.repo import LOCAL_REPO, Repo


def main(argv: Sequence[str] | None = None) -> int:
    """Export the best weights of a run, print the released file's path, return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    if bool(args.sig) == args.reindex:
        parser.error("give the signature of a run, or --reindex")
    try:
        if args.reindex:
            for entry in Repo(args.out).reindex():
                print(entry.name)
        else:
            print(export_run(args.sig, args.out, licence=args.licence, default=args.default))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"export: {error}", file=sys.stderr)
        return 1
    return 0


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
        description="Write the best weights of a trained run as one released file, and list it.",
    )
    parser.add_argument("sig", nargs="?", metavar="SIG", help="signature of the run (dora info)")
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
