"""What is installed on this machine, what is missing, and what to do about it.

Each check stands alone: what is broken is told, and never keeps the others from being made. No
module is imported here at the top that a broken installation might lack.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mss
from mss.api.checks import (
    Check,
    Checker,
    alone,
    fault_of,
    import_fault,
    installed_version,
    program_output,
    version_numbers,
)
from mss.core.errors import DataError

LEAST_PYTHON = (3, 10)
LEAST_TORCH = (2, 6)
LEAST_LIBSNDFILE = (1, 1)
"""The first one that reads and writes MP3."""
LITTLE_SPACE = 2 << 30
"""Bytes. Four stems of an hour in 16 bits take 2.4 GiB."""

# Libraries (distribution, module) without which nothing can be separated, beside those that have a
# check of their own.
_LIBRARIES = (
    ("numpy", "numpy"),
    ("einops", "einops"),
    ("julius", "julius"),
    ("safetensors", "safetensors"),
    ("pydantic", "pydantic"),
    ("pyyaml", "yaml"),
    ("platformdirs", "platformdirs"),
    ("filelock", "filelock"),
    ("tqdm", "tqdm"),
    ("mutagen", "mutagen"),
)
_TRAINING = ("hydra-core", "omegaconf", "dora-search", "submitit", "musdb", "museval")
_CPU_FEATURES = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "sve", "bf16"),  # ARM
)


def examine(repo: str | os.PathLike[str] | None, out: str | os.PathLike[str]) -> Iterator[Check]:
    """Yield what each check says.

    Args:
        repo: folder of released models; None: the default one.
        out: where stems are going to be written.
    """
    checks: tuple[tuple[str, Checker, bool], ...] = (
        ("Python", python, True),
        ("stemgrid", stemgrid, False),
        ("torch", torch_itself, True),
        ("GPU", gpus, False),
        ("libraries", libraries, True),
        ("soundfile", soundfile, True),
        ("PyAV", pyav, True),
        ("openvino", partial(runtime, "openvino", ()), False),
        ("onnxruntime", partial(runtime, "onnxruntime", ("onnx", "onnxscript")), False),
        ("torchaudio", torchaudio, False),
        ("training", training, False),
        ("ffmpeg", ffmpeg, False),
        ("soundstretch", soundstretch, False),
        ("SLURM", slurm, False),
        ("models", partial(models, repo), True),
        ("output folder", partial(space, "output folder", Path(out), True), True),
        ("cache", cache, False),
    )
    for name, checker, needed in checks:
        yield from alone(name, checker, needed)


def all_is_well(checks: list[Check]) -> bool:
    """Tell whether songs can be separated: nothing that is needed is broken or not installed."""
    return all(check.state == "ok" or not check.needed for check in checks)


def python() -> list[Check]:
    fact = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        return [Check("Python", "wrong", fact, f"install Python {least} or newer", True)]
    return [Check("Python", "ok", fact, needed=True)]


def stemgrid() -> list[Check]:
    """Look at this package and at the library of the same import name."""
    folder = Path(mss.__file__).resolve().parent
    version = installed_version("stemgrid")
    fact = f"{mss.__version__}, {folder}"
    check = Check("stemgrid", "ok", fact if version else f"{fact}, not installed: used in place")
    if version not in (None, mss.__version__):
        fact = f"{fact}, but {version} is what is installed"
        check = Check("stemgrid", "wrong", fact, "install it again: pip install -e .")
    found = [check]
    other = installed_version("mss")
    if other is not None:
        found.append(
            Check(
                "import name",
                "wrong",
                f"the screenshot library mss {other} is installed, which `import mss` means, too",
                "pip uninstall mss, then install stemgrid again; or give each an environment",
            )
        )
    return found


def torch_itself() -> list[Check]:
    import torch

    from mss.api.device import device_title
    from mss.api.threads import available_threads
    from mss.infer.accelerate import cpu_features

    features = cpu_features()
    known = [name for name in _CPU_FEATURES if name in features]
    cpu = torch.device("cpu")
    count = available_threads()
    own = torch.get_num_threads()
    fact = f"{torch.__version__}, {own} threads of {count} that this process may use"
    found = [Check("torch", "ok", fact, needed=True)]
    if version_numbers(torch.__version__) < LEAST_TORCH:
        least = ".".join(map(str, LEAST_TORCH))
        found = [Check("torch", "wrong", fact, f"install torch {least} or newer", True)]
    title = f"{device_title(cpu)}{': ' if known else ''}{', '.join(known)}"
    return [*found, Check("CPU", "ok", title)]


def gpus() -> list[Check]:
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        major, minor = torch.cuda.get_device_capability(index)
        fact = (
            f"cuda:{index}: {torch.cuda.get_device_name(index)}, {_gib(total)}, {_gib(free)} free, "
            f"compute capability {major}.{minor}"
        )
        found.append(Check("GPU", "ok", fact))
    if found:
        return found
    other = torch.accelerator.current_accelerator(check_available=True)
    if other is not None:
        return [Check("GPU", "ok", f"{other.type}")]
    listed = program_output(["nvidia-smi", "-L"])
    if listed:
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build for CPUs"
        fact = f"{listed.splitlines()[0]}: torch {torch.__version__}, {build}, can't use it"
        remedy = (
            "install torch for this GPU and its driver: https://pytorch.org/get-started/locally"
        )
        return [Check("GPU", "wrong", fact, remedy)]
    return [Check("GPU", "missing", "none", "none is needed: the CPU separates")]


def libraries() -> list[Check]:
    versions = {name: installed_version(name) for name, _ in _LIBRARIES}
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        fact = f"not installed: {', '.join(missing)}"
        return [Check("libraries", "missing", fact, f"pip install {' '.join(missing)}", True)]
    faults = []
    for name, module in _LIBRARIES:
        try:
            importlib.import_module(module)
        except Exception as error:  # see `alone`
            faults.append(f"{name} ({fault_of(error)})")
    if faults:
        fact = f"can't be imported: {', '.join(faults)}"
        return [Check("libraries", "wrong", fact, "install them again", True)]
    return [Check("libraries", "ok", there, needed=True)]


def soundfile() -> list[Check]:
    if installed_version("soundfile") is None:
        return [_not_installed("soundfile", "reads and writes wav, flac, ogg and mp3", True)]
    import soundfile as package

    library = str(package.__libsndfile_version__)
    fact = f"{package.__version__}, libsndfile {library}"
    if version_numbers(library) < LEAST_LIBSNDFILE:
        remedy = "pip install --force-reinstall soundfile: its wheel brings a newer libsndfile"
        return [Check("soundfile", "wrong", f"{fact}, which knows no MP3", remedy)]
    return [Check("soundfile", "ok", fact, needed=True)]


def pyav() -> list[Check]:
    if installed_version("av") is None:
        return [_not_installed("av", "reads m4a, mp4, video and what libsndfile can't", True)]
    import av

    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return [Check("PyAV", "ok", f"{av.__version__}, libavcodec {codec}", needed=True)]


def runtime(name: str, exporters: tuple[str, ...]) -> list[Check]:
    """Look at a runtime that may separate faster than torch on a CPU.

    Args:
        name: of its package.
        exporters: packages that are needed to make what it runs.
    """
    version = installed_version(name)
    extra = "onnx" if exporters else name
    what = "may separate faster on a CPU"
    if version is None:
        return [_not_installed(f"stemgrid[{extra}]", what, name=name)]
    if fault := import_fault(name):
        fact = f"{version} is installed and can't be imported: {fault}"
        return [Check(name, "wrong", fact, f"pip install --force-reinstall {name}")]
    missing = [package for package in exporters if installed_version(package) is None]
    if missing:
        fact = f"{version}, without {' and '.join(missing)}: no network can be exported for it"
        return [Check(name, "wrong", fact, f"pip install {' '.join(missing)}")]
    return [Check(name, "ok", version)]


def torchaudio() -> list[Check]:
    """Look at torchaudio, which has to be of torch's own version."""
    version = installed_version("torchaudio")
    if version is None:
        what = "serves one optional loss of training"
        return [_not_installed("stemgrid[torchaudio]", what, name="torchaudio")]
    torch_version = (installed_version("torch") or "none").partition("+")[0]
    fault = import_fault("torchaudio")
    fact = f"{version} beside torch {torch_version}"
    remedy = f"separation does without; pip install torchaudio=={torch_version}, or uninstall it"
    if fault is not None:
        return [Check("torchaudio", "wrong", f"{fact} can't be imported: {fault}", remedy)]
    if version_numbers(version)[:2] != version_numbers(torch_version)[:2]:
        return [Check("torchaudio", "wrong", f"{fact}: not a pair", remedy)]
    return [Check("torchaudio", "ok", fact)]


def training() -> list[Check]:
    missing = [name for name in _TRAINING if installed_version(name) is None]
    if missing:
        fact = f"not installed: {', '.join(missing)}"
        remedy = "separation does without; to train, in a clone: pip install -e '.[train]'"
        return [Check("training", "missing", fact, remedy)]
    versions = (f"{name} {installed_version(name)}" for name in _TRAINING)
    return [Check("training", "ok", ", ".join(versions))]


def ffmpeg() -> list[Check]:
    printed = program_output(["ffmpeg", "-version"])
    if printed is None:
        remedy = "separation does without (PyAV brings its own); data sets of .stem.mp4 need it"
        return [Check("ffmpeg", "missing", "not on the PATH", remedy)]
    words = printed.split()
    return [Check("ffmpeg", "ok", words[2] if len(words) > 2 else "of an unknown version")]


def soundstretch() -> list[Check]:
    """Look at what changes tempo and pitch of training examples: a program, or else a package."""
    path = shutil.which("soundstretch")
    if path is not None:
        return [Check("soundstretch", "ok", path)]
    package = installed_version("python-stretch")
    if package is not None:
        remedy = f"training does without: python-stretch {package} changes tempo and pitch"
        return [Check("soundstretch", "missing", "not on the PATH", remedy)]
    remedy = (
        "separation does without; training needs it, or `pip install python-stretch`, to change"
        " tempo and pitch of examples"
    )
    return [Check("soundstretch", "missing", "not on the PATH", remedy)]


def slurm() -> list[Check]:
    if shutil.which("sbatch") is None:
        remedy = "grids run on this machine; on a cluster, start from a login node"
        return [Check("SLURM", "missing", "no sbatch on the PATH", remedy)]
    try:
        printed = program_output(["sinfo", "--noheader", "--format=%P"])
    except RuntimeError as error:
        remedy = "ask for the cluster's state: jobs can't be submitted now"
        return [Check("SLURM", "wrong", str(error), remedy)]
    partitions = sorted(set((printed or "").split()))
    if not partitions:
        remedy = "sinfo shows none; ask who runs the cluster"
        return [Check("SLURM", "wrong", "no partitions", remedy)]
    return [Check("SLURM", "ok", f"partitions {', '.join(partitions)}")]


def models(repo: str | os.PathLike[str] | None) -> list[Check]:
    """Look at the repo of released models, its index and whether its files are whole."""
    from mss.release.repo import NoModelError, Repo

    found = Repo(repo)
    try:
        entries, bags = found.entries(), found.bag_names()
    except DataError as error:  # it names the remedy
        return [Check("models", "wrong", str(error), needed=True)]
    try:
        default = found.resolve().name
    except NoModelError as error:
        # nothing is broken where nothing is yet
        return [Check("models", "missing", "none", str(error))]
    except DataError as error:
        return [Check("models", "wrong", str(error), "name a model with -n until then")]
    for entry in entries:
        path = found.root / entry.file
        size = path.stat().st_size if path.is_file() else None
        if size != entry.bytes:
            state = "is missing" if size is None else f"has {size} bytes, not {entry.bytes}"
            remedy = "put the file back, or list what is there: python -m tools.export --reindex"
            return [Check("models", "wrong", f"{path}: {state}", remedy, True)]
    total = sum(entry.bytes for entry in entries)
    counts = f"{len(entries)} released, {len(bags)} bags, {_gib(total)}"
    fact = f"{found.root}: {counts}, default {default}"
    return [Check("models", "ok", fact, needed=True)]


def space(name: str, folder: Path, needed: bool = False) -> list[Check]:
    """Look at a folder, which need not exist: whether it can be written, and what is free."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        fact = f"{there} can't be written" if there.is_dir() else f"{there} is a file"
        return [Check(name, "wrong", fact, "choose another folder", needed)]
    free = shutil.disk_usage(there).free
    fact = f"{folder}, {_gib(free)} free"
    if free < LITTLE_SPACE:
        remedy = f"an hour of four stems takes {_gib(5 * LITTLE_SPACE // 4)}: make room"
        return [Check(name, "wrong", fact, remedy)]
    return [Check(name, "ok", fact, needed=needed)]


def cache() -> list[Check]:
    from mss.core.cache import cache_root

    return space("cache", cache_root())


def _not_installed(package: str, what: str, needed: bool = False, name: str | None = None) -> Check:
    remedy = f"it {what}: pip install '{package}'"
    return Check(name or package, "missing", "not installed", remedy, needed)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 1 << 30 else f"{size / 2**20:.1f} MiB"
