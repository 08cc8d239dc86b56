"""A model from another package: one python file and one yaml, as CONTRIBUTING shows it."""

import re
import textwrap
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mss.core.audio_io import read_audio

pytestmark = pytest.mark.integ

CLONE = Path(__file__).resolve().parents[2]


def code_blocks(text: str, title: str) -> list[str]:
    """Return the indented blocks of a section of CONTRIBUTING, without their indentation."""
    section = text.split(f"**{title}**", 1)[1].split("\n**", 1)[0]
    texts = re.split(r"^(?! {4}|$).*\n", section, flags=re.MULTILINE)  # at prose
    return [textwrap.dedent(text) for text in texts if text.strip()]


@pytest.fixture
def plugin(lab, tmp_path) -> None:
    """Install CONTRIBUTING's example for this lab: its file, its entry point, its yaml."""
    python, yaml = code_blocks((CLONE / "CONTRIBUTING.md").read_text(), "A model.")[:2]
    package = tmp_path / "package"
    package.mkdir()
    (package / "gain_mask.py").write_text(python)
    facts = package / "gain_mask-0.1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gain-mask\nVersion: 0.1\n")
    (facts / "entry_points.txt").write_text("[stemgrid.model]\ngain_mask = gain_mask:GainMask\n")
    lab.environment["PYTHONPATH"] += f":{package}"
    (lab.root / "conf" / "model" / "gain_mask.yaml").write_text(yaml)


def test_a_model_of_another_package_is_trained_released_and_used(lab, plugin):
    overrides = ("dset=demo_tiny", "model=gain_mask", "variant=debug")
    lab.train(*overrides)
    sig = lab.signature(*overrides)
    printed = lab.train("dset=demo_tiny", "model=gain_mask", "model.gian=2", status=1)
    assert "gian" in printed and "gain" in printed  # the nearest right key

    lab.run("tools.export", sig)
    (released,) = (lab.root / "release_models").glob("gain_mask-*.safetensors")
    mask = load_file(released)["mask"]
    assert mask.shape == (4, 1, 513, 1)
    assert bool((mask != 0.5).any())  # it learned
    song = next(Path(lab.environment["STEMGRID_CACHE"]).rglob("test/*/mixture.wav"))
    refused = lab.run("mss", "separate", str(song), "-n", sig, status=1)
    assert "--plugins" in refused
    lab.run("mss", "separate", str(song), "-n", sig, "--plugins", "--format", "wav32", "-o", "out")
    mixture, _ = read_audio(song)
    vocals, _ = read_audio(lab.root / "out" / "mixture" / "vocals.wav")
    assert vocals.shape == mixture.shape
    assert 0 < vocals.norm() < mixture.norm()
