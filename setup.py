"""The package; the lab around it (conf, grids, tools, slurm) works from a clone."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "mss/__init__.py").read_text()).group(1)

# What separating a song needs, and nothing more.
CORE = [
    "torch>=2.6",
    "numpy>=1.26",
    "soundfile>=0.12",
    "av>=12",
    "julius>=0.2.7",
    "einops>=0.7",
    "safetensors>=0.4.3",
    "pydantic>=2.10",
    "pyyaml>=6",
    "platformdirs>=4",
    "filelock>=3.12",
    "tqdm>=4.66",
    "mutagen>=1.47",
]

# Experiments: configuration, grids, data sets, evaluation.
TRAIN = [
    "hydra-core>=1.3.2,<1.4",
    "omegaconf>=2.3,<2.4",
    "dora-search==0.1.13",
    "submitit>=1.5.2",
    "musdb>=0.4.2",
    "museval==0.4.1",
    "pretty_midi>=0.2.11",
    "midirenderer==0.1.3",
    "mido>=1.3",
    "rich>=13",
    "scipy>=1.11",
    "scikit-learn>=1.3",
    "auraloss>=0.4",
    "matplotlib>=3.8",
]

# Checks, and the peers that tests compare with. Those that want torchaudio or an older torch are
# added by `make install`, without their dependencies.
DEV = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "ruff",
    "mypy",
    "import-linter>=2",
    "types-PyYAML",
    "types-tqdm",
    "build",
    "wheel",
    "python-stretch>=0.3.1",
    "openvino>=2025.0",
    "onnx>=1.17",
    "onnxscript>=0.3",
    "onnxruntime>=1.20",
    "demucs==4.1.0",
    "bs-roformer==1.2.4",
    "librosa>=0.10",
    "ml_collections>=1",  # for msst
    "tensorboard>=2.15",
]

setup(
    name="stemgrid",
    version=VERSION,
    description="A Hydra + Dora experiment grid for music source separation",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["mss", "mss.*"]),
    install_requires=CORE,
    extras_require={
        "train": TRAIN,
        "dev": TRAIN + DEV,
        "onnx": ["onnx>=1.17", "onnxscript>=0.3", "onnxruntime>=1.20"],
        "openvino": ["openvino>=2025.0"],
        "tensorboard": ["tensorboard>=2.15"],
        "stretch": ["python-stretch>=0.3.1"],  # where soundstretch is not installed
        "log-wmse": ["torch-log-wmse>=1.1", "torchaudio"],  # loss=log_wmse; it imports torchaudio
        "web": ["starlette>=0.40", "uvicorn>=0.30", "python-multipart>=0.0.18"],
        # must be of the same version as torch: see environment-cuda.yml
        "torchaudio": ["torchaudio"],
    },
    entry_points={"console_scripts": ["stemgrid = mss.cli.main:main"]},
)
