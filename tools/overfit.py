"""Can a small hdemucs learn ten seconds of a real song by heart? ``make overfit``.

A network or a loop with a fault in it can't: wrong gradients, a target that does not belong to its
mix, weights that the validation does not see. The bar is a mean nSDR above 15 dB and 10 dB for each
stem, within 20 minutes on two cores.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mss.core.errors import DataError, StemgridError

CLONE = Path(__file__).resolve().parent.parent
SONG = CLONE.parent / "shared/data/everything-is-remixed/train/Potassium"
FOLDER = Path("outputs/overfit")
SECONDS = 10
MEAN, EACH = 15.0, 10.0  # dB


def main(argv: Sequence[str] | None = None) -> int:
    """Train on the excerpt; return 0 if the bar was passed."""
    parser = argparse.ArgumentParser(prog="python -m tools.overfit", description=__doc__)
    parser.add_argument("--song", type=Path, default=SONG, help="folder of stems")
    parser.add_argument("--start", type=float, default=36.0, help="of the excerpt (seconds)")
    parser.add_argument("overrides", nargs="*", help="of the configuration")
    args = parser.parse_args(argv)
    os.chdir(CLONE)
    try:
        cut_excerpt(args.song, args.start)
        name = f"overfit-{args.song.name}-{args.start:g}"
        return judge(train([f"dset.name={name}", *args.overrides]))
    except (StemgridError, OSError) as error:
        print(f"overfit: {error}", file=sys.stderr)
        return 1


def cut_excerpt(song: Path, start: float) -> None:
    """Write the excerpt as the only song of each split."""
    from mss.core.audio_io import read_audio, write_audio

    stems = sorted(path for path in song.glob("*.*") if path.stem != "mixture")
    if not stems:
        raise DataError(f"{song}: no stems there; give the folder of a song")
    shutil.rmtree(FOLDER / "songs", ignore_errors=True)
    for path in stems:
        audio, samplerate = read_audio(path)
        first = round(start * samplerate)
        excerpt = audio[:, first : first + SECONDS * samplerate]
        if not excerpt.any():
            raise DataError(f"{path}: silent from {start} s on; choose another --start")
        for split in ("train", "valid", "test"):
            folder = FOLDER / "songs" / split / song.name
            write_audio(folder / f"{path.stem}.wav", excerpt, samplerate)


def train(overrides: Sequence[str]) -> list[dict[str, dict[str, float]]]:
    """Train through Dora; return the history."""
    from mss.train import main as train_main

    arguments = ["dset=folder", f"dset.root={FOLDER / 'songs'}"]
    arguments += ["variant=overfit", *overrides]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    started = time.monotonic()
    command = ["dora", "-P", "mss", "run", *arguments]
    done = subprocess.run(command, check=False, env={**os.environ, "PATH": path})
    if done.returncode != 0:
        raise DataError(f"{' '.join(command)}: ended with status {done.returncode}; see above")
    print(f"trained for {(time.monotonic() - started) / 60:.1f} minutes")
    history: list[dict[str, dict[str, float]]] = json.loads(
        train_main.get_xp(arguments).history.read_text(encoding="utf-8")
    )
    return history


def judge(history: list[dict[str, dict[str, float]]]) -> int:
    """Print the scores of the best model and compare them with the bar."""
    scores = {
        key.removeprefix("nsdr_"): value
        for key, value in history[-1]["test"].items()
        if key.startswith("nsdr_")
    }
    mean = sum(scores.values()) / len(scores)
    shown = ", ".join(f"{stem} {score:.2f}" for stem, score in scores.items())
    passed = mean > MEAN and min(scores.values()) > EACH
    print(f"nSDR {mean:.2f} dB ({shown}): {'passed' if passed else 'NOT passed'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
