"""Backends that change pitch and tempo."""

import pytest

from mss.core.stretch import Stretcher
from mss.core.stretch_choice import choose_stretcher
from mss.core.stretch_program import find_program


@pytest.fixture(params=["soundstretch", "python-stretch"])
def stretcher(request: pytest.FixtureRequest) -> Stretcher:
    """Each of the backends."""
    if request.param == "soundstretch" and find_program() is None:
        pytest.skip("the program soundstretch is not on the PATH (apt install soundstretch)")
    return choose_stretcher(request.param, "test")
