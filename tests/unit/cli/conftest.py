"""Released models of a few hundred weights, and a song."""

from pathlib import Path

import pytest
import torch
from tiny_release import make_repo

from mss.core.audio_io import write_audio


@pytest.fixture(scope="package")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repo of a tiny hdemucs (the default), a tiny openunmix and another hdemucs, and a bag."""
    return make_repo(tmp_path_factory.mktemp("release_models"))


@pytest.fixture
def song(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "song.wav"
    write_audio(path, 0.1 * torch.randn(2, 20011, generator=generator), 8000, "PCM_16")
    return path
