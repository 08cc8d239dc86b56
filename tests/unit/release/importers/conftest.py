"""Makers of foreign files; see tests/support/foreign_files.py."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_files import demucs_content

from mss.core.files import file_sha256


@pytest.fixture
def foreign_class(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type]:
    """Return a maker of classes that pickle under any full name, as if that program were here."""

    def make(path: str) -> type:
        module, _, name = path.rpartition(".")
        made = type(name, (), {"__module__": module})
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            package = ".".join(parts[:count])
            if package not in sys.modules:
                monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
        monkeypatch.setattr(sys.modules[module], name, made, raising=False)
        return made

    return make


Saver = Callable[..., Path]


@pytest.fixture
def save_demucs(tmp_path: Path, foreign_class: Callable[[str], type]) -> Saver:
    """Return save(signature, seed=0, edit=None, klass=...): a .th file named as demucs names it."""

    def save(
        signature: str = "1a2b3c4d",
        seed: int = 0,
        edit: Callable[[dict[str, Any]], Any] | None = None,
        klass: str = "demucs.hdemucs.HDemucs",
        folder: Path = tmp_path,
    ) -> Path:
        content = demucs_content(foreign_class(klass), seed)
        if edit is not None:
            edit(content)
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "draft"
        torch.save(content, draft)
        return draft.rename(folder / f"{signature}-{file_sha256(draft)[:8]}.th")

    return save
