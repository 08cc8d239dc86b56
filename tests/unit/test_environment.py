"""What is installed is what was tested, and nothing that a CPU machine has no use for."""

import re
from importlib.metadata import distributions, requires
from pathlib import Path

import torch

CLONE = Path(__file__).resolve().parents[2]


def normal(name: str) -> str:
    """Return a package's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (CLONE / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


def installed() -> dict[str, str]:
    return {normal(d.metadata["Name"]): d.version for d in distributions()}


def test_no_cuda_package_came_along_on_a_cpu_machine():
    if not torch.cuda.is_available():
        assert [name for name in installed() if name.startswith(("nvidia-", "triton"))] == []


def test_installed_versions_are_the_pinned_ones():
    found = installed()
    different = {
        name: (found[name], version)
        for name, version in pins().items()
        if name in found and found[name].split("+")[0] != version
    }
    assert different == {}
    assert set(found) - set(pins()) <= {"pip", "stemgrid"}


def test_every_requirement_is_pinned():
    """But torchaudio, which needs the torch of its own version (environment-cuda.yml)."""
    needed = {normal(re.match(r"[A-Za-z0-9_.-]+", line).group()) for line in requires("stemgrid")}
    assert len(needed) > 25
    assert needed - set(pins()) == {"torchaudio"}


def test_the_cuda_environment_pairs_torch_and_torchaudio():
    text = (CLONE / "environment-cuda.yml").read_text()
    versions = dict(re.findall(r"(torch|torchaudio)==([0-9.]+)", text))
    assert versions["torch"] == versions["torchaudio"]
