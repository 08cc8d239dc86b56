"""A model of a few hundred weights that is registered for the length of a test."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from mss.core import registry
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate, InferenceDefaults
from mss.release.export import export_model

SPEC = AudioSpec(("drums", "vocals"), samplerate=8000, channels=2)


@dataclass(frozen=True)
class ToyConfig(SeparatorConfig):
    segment: Fraction = Fraction(39, 5)
    hidden: int = 4
    shape: Literal["plain", "tied", "strided"] = "plain"


class Toy(Separator):
    """Two pointwise convolutions, a counter and a scale; `shape` asks for awkward storage."""

    Config = ToyConfig

    def __init__(self, config: ToyConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.encode = nn.Conv1d(spec.channels, config.hidden, 1)
        self.decode = nn.Conv1d(config.hidden, len(spec.sources) * spec.channels, 1)
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("scale", torch.tensor(0.5, dtype=torch.float64))
        if config.shape == "tied":
            self.again = self.encode
        elif config.shape == "strided":
            weight = torch.randn(spec.channels, config.hidden, 1)
            self.encode.weight = nn.Parameter(weight.transpose(0, 1))
            self.register_buffer("view", torch.arange(10.0)[2:5])

    @property
    def inference(self) -> InferenceDefaults:
        return InferenceDefaults(self.config.segment, overlap=0.5, normalise="file_mono_std")

    def analyse(self, mix: Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (mix,) = inputs
        return (self.decode(torch.tanh(self.encode(mix))) * self.scale.float(),)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        del features
        return Estimate(rearrange(outputs[0], "b (s c) t -> b s c t", c=self.spec.channels))

    @classmethod
    def tiny(cls, spec: AudioSpec) -> "Toy":
        return cls(ToyConfig(), spec)


class Forgetful(Toy):
    """Its output depends on a value that neither its Config nor its state holds."""

    count = 0

    def __init__(self, config: ToyConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        type(self).count += 1
        self.gain = float(type(self).count)

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (super().network(*inputs)[0] * self.gain,)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the test's models as if they were built in."""
    monkeypatch.setitem(registry.BUILTIN["model"], "toy", f"{Toy.__module__}:Toy")
    monkeypatch.setitem(registry.BUILTIN["model"], "forgetful", f"{Toy.__module__}:Forgetful")


ToyMaker = Callable[..., Toy]


@pytest.fixture
def make_toy() -> ToyMaker:
    """Return a maker of toys: make_toy(seed=0, arch="toy", **config)."""

    def make(seed: int = 0, arch: str = "toy", spec: AudioSpec = SPEC, **config: Any) -> Toy:
        found = {"toy": Toy, "forgetful": Forgetful}[arch]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return found(ToyConfig(**config), spec)

    return make


@pytest.fixture
def toy(make_toy: ToyMaker) -> Toy:
    return make_toy()


def read_parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """Split a safetensors file into its JSON header and its tensors' bytes, by hand."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


Rewriter = Callable[..., Path]


@pytest.fixture
def rewrite(tmp_path: Path) -> Rewriter:
    """Return a forger: rewrite(path, edit) lets `edit` change the header's JSON and re-seals it.

    The copy carries another name, so that only what the file itself says is left to check.
    """
    from safetensors.torch import load_file, save_file

    from mss.release.container import _content_sha256

    def forge(
        path: Path, edit: Callable[[dict[str, Any], dict[str, Tensor]], None], name: str = "forged"
    ) -> Path:
        tensors = load_file(path)
        plain = json.loads(read_parts(path)[0]["__metadata__"]["stemgrid"])
        del plain["content_sha256"]
        edit(plain, tensors)
        digest = _content_sha256(json.dumps(plain), tensors)
        text = json.dumps({**plain, "content_sha256": digest})
        target = tmp_path / f"{name}.safetensors"
        save_file(tensors, target, metadata={"stemgrid": text})
        return target

    return forge


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "repo"


@pytest.fixture
def export(make_toy: Any, root: Path) -> Any:
    """Return export(signature, seed, **facts) -> full name."""

    def run(signature: str, seed: int = 0, toy: dict[str, Any] | None = None, **facts: Any) -> str:
        model = make_toy(seed, **(toy or {}))
        return export_model(model, root, arch="toy", signature=signature, **facts).stem

    return run
