"""Which backend changes pitch and tempo on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from mss.core import stretch_program, stretch_signalsmith
from mss.core.errors import ConfigError
from mss.core.stretch import Stretcher
from mss.core.stretch_program import SoundstretchProgram
from mss.core.stretch_signalsmith import SignalsmithStretcher

Backend = Literal["auto", "soundstretch", "python-stretch"]
"""auto: soundstretch where it is on the PATH, else python-stretch."""


def choose_stretcher(backend: Backend, where: str) -> Stretcher:
    """Return the backend of a name, or for "auto" the best one that is there.

    Args:
        backend: what is asked for.
        where: the key that holds it, for messages.

    Raises:
        ConfigError: it is not installed, or nothing is.
    """
    missing = []
    if backend in ("auto", "soundstretch"):
        path = stretch_program.find_program()
        if path is not None:
            return SoundstretchProgram(path)
        missing.append(f"the program soundstretch is not on the PATH: {stretch_program.INSTALL}")
    if backend in ("auto", "python-stretch"):
        if find_spec("python_stretch") is not None:
            return SignalsmithStretcher()
        missing.append(f"python-stretch is not installed: {stretch_signalsmith.INSTALL}")
    raise ConfigError(f"{where}: {'; '.join(missing)}")
