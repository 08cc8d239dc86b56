"""The lab for tests of tools that name runs."""

from functools import cache

import pytest


@pytest.fixture(scope="session")
def compose_once():
    """Compose each list of overrides once in all tests."""
    from mss.train import main

    compose = main._get_config_noinit
    return cache(lambda overrides: compose(list(overrides)))


@pytest.fixture
def lab(tmp_path, monkeypatch, compose_once):
    """The lab's main, with an outputs folder of its own."""
    from mss.train import main

    monkeypatch.setattr(main.dora, "dir", tmp_path / "outputs")
    monkeypatch.setattr(main, "_get_config_noinit", lambda given=(): compose_once(tuple(given)))
    return main
