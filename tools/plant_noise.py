"""Plant swapped stems and bleed into a copy of a clean data set.

    python -m tools.plant_noise --in ROOT --out DIR --swaps 0.3 --bleed 0.2 --bleed-db -10 --seed 0

ROOT is a folder as of dset=folder, or demo, demo_large or tiny: the demo set of that size. Train on
the copy by dset=labelnoise dset.root=DIR dset.name=...; measure a filter by
`tools.filter_noise --truth DIR/truth.json`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mss.core.errors import StemgridError


def main(argv: Sequence[str] | None = None) -> int:
    """Plant the noise, print what was done, return the exit status."""
    args = _parser().parse_args(argv)
    # Here, not above: --help needs no torch.
    from mss.data.planting import MANIFEST, TRUTH, Planting, plant_noise

    try:
        planting = Planting(args.swaps, args.bleed, args.bleed_db, args.seed)
        truth = plant_noise(_clean_set(args.root), args.out.expanduser(), planting)
    except StemgridError as error:
        print(f"plant_noise: {error}", file=sys.stderr)
        return 1
    kinds = [planted.kind for planted in truth.songs.values() if planted is not None]
    print(
        f"{args.out}: {len(truth.songs)} training songs, {kinds.count('swap')} with swapped stems,"
        f" {kinds.count('bleed')} with bleed ({MANIFEST}, {TRUTH})"
    )
    return 0


def _clean_set(name: str) -> Path:
    """Return the folder of the clean set, making a demo set where one is named."""
    from mss.data.synth.dataset import DEMO_SIZES
    from mss.data.synth.demo import ensure_demo_dataset

    folder = Path(name).expanduser()
    return folder if folder.is_dir() or name not in DEMO_SIZES else ensure_demo_dataset(size=name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.plant_noise",
        description="Plant label noise and bleed into the training songs of a copy of a data set.",
    )
    parser.add_argument(
        "--in",
        dest="root",
        required=True,
        metavar="ROOT",
        help="a folder with train/NAME/STEM.wav, or a demo set: demo, demo_large, tiny",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the copy; must not exist yet"
    )
    parser.add_argument(
        "--swaps",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the training songs in which two stems are exchanged (default: %(default)s)",
    )
    parser.add_argument(
        "--bleed",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of other songs in which a part of one stem moves to another (default: %(default)s)",
    )
    parser.add_argument(
        "--bleed-db",
        type=float,
        default=-10.0,
        metavar="DB",
        help="level of that part relative to all of its stem (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
