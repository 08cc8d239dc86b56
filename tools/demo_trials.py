"""Make the data of the grids that need some: ``python -m tools.demo_trials GRID``.

label_noise: a copy of the composed songs with stems exchanged in some training songs.
pseudo_label: half of them with their stems, the mixtures of the rest, and the truth about these for
    an oracle.

Everything goes into `cluster.derived` (outputs/derived) and is found there by conf/dset. What is
there already stays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mss.core.errors import DataError, StemgridError

LABELLED = 2
"""Every so many-th training song keeps its stems."""
SWAPS = 0.5
"""Share of the training songs in which two stems are exchanged."""
SEED = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data of one grid; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo_trials",
        description="Make the data of a grid of dset=demo_large.",
    )
    parser.add_argument("grid", choices=sorted(MAKERS))
    args = parser.parse_args(argv)
    try:
        for folder in MAKERS[args.grid](_songs(), _derived()):
            print(folder)
    except (StemgridError, OSError) as error:
        print(f"demo_trials: {error}", file=sys.stderr)
        return 1
    return 0


def label_noise(songs: Path, derived: Path) -> list[Path]:
    """Make the noisy copy; its truth lies in it."""
    from mss.data.planting import Planting, plant_noise

    out = derived / "demo_large_noisy"
    if not out.exists():
        plant_noise(songs, out, Planting(swaps=SWAPS, seed=SEED))
    return [out]


def pseudo_label(songs: Path, derived: Path) -> list[Path]:
    """Make the labelled half, the recordings of the rest, and what they are made of."""
    half, rest = derived / "demo_large_half", derived / "demo_large_unlabelled"
    truth = derived / "demo_large_truth"
    train = sorted(path for path in (songs / "train").iterdir() if path.is_dir())
    labelled, others = train[::LABELLED], [song for i, song in enumerate(train) if i % LABELLED]

    def make_half(folder: Path) -> None:
        for split in ("valid", "test"):
            (folder / split).symlink_to(songs / split)
        (folder / "train").mkdir()
        for song in labelled:
            (folder / "train" / song.name).symlink_to(song)

    def make_rest(folder: Path) -> None:
        for song in others:
            (folder / song.name).mkdir()
            (folder / song.name / "mixture.wav").symlink_to(song / "mixture.wav")

    def make_truth(folder: Path) -> None:
        for song in others:
            (folder / song.name).symlink_to(song)

    made = {half: make_half, rest: make_rest, truth: make_truth}
    for folder, make in made.items():
        _whole(folder, make)
    return list(made)


MAKERS: dict[str, Callable[[Path, Path], list[Path]]] = {
    "label_noise": label_noise,
    "pseudo_label": pseudo_label,
}


def _whole(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder that is there whole or not at all."""
    if folder.exists():
        return
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        make(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial)
        raise


def _songs() -> Path:
    """Return the folder of the composed songs of dset=demo_large, which are made on first use."""
    from mss.compose import compose_config
    from mss.data.synth.demo import ensure_demo_dataset

    dset = compose_config(["dset=demo_large"]).dset
    root = None if dset.root is None else Path(dset.root)
    return ensure_demo_dataset(root, dset.size, dset.seed).absolute()


def _derived() -> Path:
    from mss.compose import compose_config

    derived = compose_config().cluster.get("derived")
    if derived is None:
        raise DataError(
            "cluster.derived: not set; say in conf/cluster/NAME.yaml where the lab's tools may "
            "keep the data sets that they make"
        )
    return Path(str(derived)).absolute()


if __name__ == "__main__":
    sys.exit(main())
