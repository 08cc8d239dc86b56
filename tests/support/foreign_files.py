"""Small foreign checkpoints, made without the programs that they stand for."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mss.core.types import AudioSpec
from mss.models.hdemucs import HDemucs, HDemucsConfig

SOURCES = ("drums", "vocals")
ARGUMENTS: dict[str, Any] = {
    "channels": 4,
    "nfft": 256,
    "depth": 4,
    "norm_starts": 2,
    "norm_groups": 2,
    "dconv_comp": 2,
    "dconv_lstm": 2,
    "dconv_attn": 2,
}


def small_hdemucs(seed: int = 0) -> HDemucs:
    """Return a model whose weights are exact in half precision."""
    torch.manual_seed(seed)
    config = HDemucsConfig(segment=Fraction(39, 5), **ARGUMENTS)
    model = HDemucs(config, AudioSpec(SOURCES, 8000)).eval()
    model.load_state_dict({key: value.half().float() for key, value in model.state_dict().items()})
    return model


def demucs_content(klass: type, seed: int = 0) -> dict[str, Any]:
    """Return what demucs pickles for a model."""
    arguments = {"samplerate": 8000, "segment": Fraction(39, 5), **ARGUMENTS}
    state: dict[str, Tensor] = {
        key: value.half() for key, value in small_hdemucs(seed).state_dict().items()
    }
    return {
        "klass": klass,
        "args": (list(SOURCES),),
        "kwargs": arguments,
        "state": state,
        "training_args": {"dset": {"segment": 11}, "seed": 42},
    }


class Payload:
    """Leaves a file where it is unpickled by a careless program."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)
