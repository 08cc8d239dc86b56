"""A stand-in for torchaudio, which can't be imported beside another torch than its own."""

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

USERS = ("torch_log_wmse", "torch_l1_snr")


@contextmanager
def torchaudio_stub() -> Iterator[None]:
    """What torch-log-wmse and torch-l1-snr import of it, and never call at 44.1 kHz in time."""
    stub, transforms = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.transforms")
    transforms.Resample = None  # type: ignore[attr-defined]
    transforms.Spectrogram = None  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio", stub)
        patch.setitem(sys.modules, "torchaudio.transforms", transforms)
        yield
    for name in [name for name in sys.modules if name.startswith(USERS)]:
        del sys.modules[name]  # they have seen the stub
