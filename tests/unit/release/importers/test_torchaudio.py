from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.hdemucs import HDemucs
from mss.release.importers.torchaudio import hdemucs_from_torchaudio

SOURCES = ["drums", "bass", "other", "vocals"]


def theirs(model: HDemucs) -> dict[str, torch.Tensor]:
    """Our weights under torchaudio's names, with the norm that it never uses."""
    state = {}
    for name, value in model.state_dict().items():
        module, _, rest = name.partition(".")
        names = {"encoder": "freq_encoder", "decoder": "freq_decoder"}
        names |= {"tencoder": "time_encoder", "tdecoder": "time_decoder"}
        state[f"{names.get(module, module)}.{rest}"] = value
    last = len(model.tencoder) - 1
    state[f"time_encoder.{last}.norm1.weight"] = torch.ones(3)
    return state


def test_every_weight_finds_its_place() -> None:
    model = HDemucs.tiny(AudioSpec(tuple(SOURCES)))
    imported = hdemucs_from_torchaudio({"sources": SOURCES}, theirs(model))
    expected = model.state_dict()
    assert imported.state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in imported.state.items())
    assert imported.spec == AudioSpec(tuple(SOURCES), 44100, 2)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"sources": SOURCES, "nfft": 2048}, "nfft"),
        ({"sources": SOURCES, "cac": False}, "cac"),
        ({}, "sources"),
    ],
)
def test_options_that_cannot_be_honoured(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: "):
        hdemucs_from_torchaudio(options, {})


def test_weights_of_something_else() -> None:
    with pytest.raises(ConfigError, match="conv_tasnet"):
        hdemucs_from_torchaudio({"sources": SOURCES}, {"conv_tasnet.weight": torch.ones(1)})
