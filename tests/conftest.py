"""Fixtures shared by every tier."""

from pathlib import Path

import pytest
import torch

# Bit-equal means at equal thread count; xdist runs one worker a core.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data" / "everything-is-remixed"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the clone."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Four CC0 songs in the MUSDB-HQ shape, where the machine has them."""
    if not SHARED_DATA.is_dir():
        pytest.skip(
            f"the CC0 recordings are not beside this clone ({SHARED_DATA.name} in shared/data)"
        )
    return SHARED_DATA
