"""Backends that change pitch and tempo, by name."""

import pytest

from mss.core.stretch_program import find_program


@pytest.fixture(params=["soundstretch", "python-stretch"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each of the backends."""
    if request.param == "soundstretch" and find_program() is None:
        pytest.skip("the program soundstretch is not on the PATH (apt install soundstretch)")
    return str(request.param)
