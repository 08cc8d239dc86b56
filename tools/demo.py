"""The main job from end to end, on the embedded data set: ``make demo``.

Generates the data, trains through Dora, releases the best model, scores it on songs that it has
never seen and separates one of them from an MP3, by the very commands a user types. Ends with a
report that says how long the model has trained.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mss.core.errors import DataError, StemgridError
from mss.core.files import write_text_atomic

if TYPE_CHECKING:
    from mss.core.types import Track

CLONE = Path(__file__).resolve().parent.parent
OUT = Path("outputs/demo")
REPO = Path("release_models")


@dataclass(frozen=True)
class Preset:
    """What a demo trains on and for how long."""

    dset: str
    overrides: tuple[str, ...]


PRESETS = {
    "full": Preset("demo", ("dset=demo", "variant=demo")),
    "short": Preset("demo_tiny", ("dset=demo_tiny", "model=openunmix_tiny", "variant=debug")),
}


@dataclass
class Timings:
    """Seconds of each step, in order."""

    steps: dict[str, float] = field(default_factory=dict)

    def run(self, name: str, command: Sequence[str], keep: bool = False) -> str:
        """Run one command in the clone, showing it; stop the demo if it fails.

        Returns what it printed, where that is asked for by `keep`.
        """
        print(f"\n$ {shlex.join(command)}", flush=True)
        started = time.monotonic()
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "STEMGRID_REPO": str(REPO),
        }
        done = subprocess.run(
            command,
            cwd=CLONE,
            env=environment,
            check=False,
            stdout=subprocess.PIPE if keep else None,
            text=True,
        )
        self.steps[name] = time.monotonic() - started
        printed = done.stdout or ""
        print(printed, end="", flush=True)
        if done.returncode != 0:
            raise DataError(
                f"{shlex.join(command)}: ended with status {done.returncode}; see above"
            )
        return printed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="a check of the path in a minute; learns nothing much"
    )
    args = parser.parse_args(argv)
    os.chdir(CLONE)
    try:
        demo(PRESETS["short" if args.short else "full"])
    except (StemgridError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def demo(preset: Preset) -> None:
    """Run every step of a preset and write the report."""
    from mss import build  # hydra and torch: not for --help

    timings = Timings()
    started = time.monotonic()
    print("Making the demo songs (composed here, rendered with sampled instruments)", flush=True)
    dataset = build.build_dataset(build.compose_config([f"dset={preset.dset}"]))
    song: Track = dataset.split("test").tracks[0]
    timings.steps["generate"] = time.monotonic() - started

    signature = _signature(preset)
    timings.run("train", ["dora", "-P", "mss", "run", *preset.overrides])
    timings.run(
        "export", [sys.executable, "-m", "tools.export", signature, "-o", str(REPO), "--default"]
    )
    score = [sys.executable, "-m", "tools.test_pretrained", "--repo", str(REPO), "-n", signature]
    scores = timings.run(
        "test", [*score, "-o", str(OUT / "results"), f"dset={preset.dset}"], keep=True
    )
    mp3 = _write_mp3(song)
    timings.run("separate", ["stemgrid", "separate", str(mp3), "-o", str(OUT / "separated")])
    text = report(signature, timings, scores)
    write_text_atomic(OUT / "report.md", text)
    print(f"\n{text}\nThis report lies in {OUT / 'report.md'}.")


def _signature(preset: Preset) -> str:
    from mss.train import main as train_main

    signature: str = train_main.get_xp(list(preset.overrides)).sig
    return signature


def _write_mp3(song: "Track") -> Path:
    """Write a test song's mixture as song.mp3, the kind of file a musician has."""
    from mss.core.audio_io import write_audio

    path = OUT / "song.mp3"
    write_audio(path, song.read("mixture"), song.samplerate)
    return path


def report(signature: str, timings: Timings, scores: str) -> str:
    """Return the report of a finished demo (Markdown).

    Args:
        signature: of the run.
        timings: of the steps.
        scores: the table of the test songs.
    """
    from mss.trained import load_trained

    run = load_trained(signature)
    training = run.provenance["training"]
    parameters = sum(p.numel() for p in run.model.parameters())
    lines = [
        "# Demo report",
        "",
        f"Model `{run.arch}` of {parameters / 1e6:.2f} M parameters, run `{signature}`.",
        f"It trained for {training['updates']} updates of {training['batch_size']} segments: "
        f"{training['seconds'] / 60:.1f} minutes on this machine. That shows that the path works; "
        "published systems train for days, on real music.",
        "",
        f"Best epoch: {training['best']['epoch']} of {training['epochs']} "
        f"({training['best']['metric']} {training['best']['value']:.2f} on the validation songs, "
        f"weights: {training['best']['origin']}).",
        "",
        "```",
        scores.strip(),
        "```",
        "",
        "| step | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.0f} |" for name, seconds in timings.steps.items()),
        f"| all | {sum(timings.steps.values()):.0f} |",
        "",
        f"Stems of song.mp3: `{OUT / 'separated' / 'song'}`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
