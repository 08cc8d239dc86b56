"""Songs that a distillation adds."""

import pytest


@pytest.fixture
def recordings(tmp_path, write_song):
    """Two songs of which the mixture alone is there."""
    root = tmp_path / "recordings"
    for seed, name in enumerate(("x", "y")):
        write_song(root / name, 500, 50 + seed, stems=("mixture",), mixture=False)
    return root
