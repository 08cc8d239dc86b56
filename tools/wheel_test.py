"""Does the wheel alone separate a song, outside the clone? ``make wheel-test``.

Builds the wheel, checks that it holds `mss` only, installs it in a fresh environment in a temporary
folder, and separates a file there with a model that this clone releases.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the check; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="stemgrid-wheel-") as name:
        folder = Path(name)
        wheel = build_wheel(folder / "dist")
        check_content(wheel)
        python = install(wheel, folder / "venv")
        release_tiny_model(folder / "models")
        write_song(folder / "song.wav")
        separate(python, folder)
    print("wheel: holds mss only and separates a file outside the clone")
    return 0


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build_wheel(out: Path) -> Path:
    """Build the wheel from the clone."""
    shutil.rmtree(CLONE / "build", ignore_errors=True)  # setuptools packs what lies there, too
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", out, CLONE)
    (wheel,) = out.glob("stemgrid-*.whl")
    return wheel


def check_content(wheel: Path) -> None:
    """Make sure that nothing but the package came along."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    strangers = {top for top in tops if top != "mss" and not top.endswith(".dist-info")}
    if strangers or "mss" not in tops:
        sys.exit(f"{wheel.name}: holds {sorted(tops)}, expected mss only")


def install(wheel: Path, venv: Path) -> Path:
    """Install the wheel in a fresh environment; return its Python."""
    _run(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "-c", CLONE / "constraints.txt")
    _run(*pip, "torch")
    _run(*pip, wheel)
    packages = _run(python, "-m", "pip", "list", "--format=freeze").lower()
    for unwanted in ("hydra-core", "dora", "submitit", "musdb", "museval", "nvidia-"):
        if f"\n{unwanted}" in packages:
            sys.exit(f"the wheel brought {unwanted} along:\n{packages}")
    return python


def release_tiny_model(repo: Path) -> None:
    """Release an untrained tiny model."""
    from mss.core.registry import resolve
    from mss.core.types import AudioSpec
    from mss.release.export import export_model

    model = resolve("model", "openunmix").tiny(AudioSpec(("vocals", "accompaniment")))
    export_model(model, repo, arch="openunmix", signature="wheeltest")


def write_song(path: Path) -> None:
    """Write three seconds of noise."""
    import torch

    from mss.core.audio_io import write_audio

    noise = 0.1 * torch.randn(2, 3 * 44100, generator=torch.Generator().manual_seed(0))
    write_audio(path, noise, 44100)


def separate(python: Path, folder: Path) -> None:
    """Separate the song by the installed command, far from the clone."""
    command = (python.parent / "stemgrid", "separate", "--repo", "models", "song.wav", "-o", "out")
    _run(*command, cwd=folder)
    found = sorted(path.name for path in (folder / "out" / "song").iterdir())
    if found != ["accompaniment.wav", "vocals.wav"]:
        sys.exit(f"expected two stems, found {found}")


if __name__ == "__main__":
    sys.exit(main())
