"""Stemgrid: a music source separation lab.

The package follows one sentence::

    conf + data -> solver (augment -> model -> target -> loss) -> XP folder -> release package
                -> inference pipeline -> stems / scores / report

For programs that separate: `Separator`, `SeparationOptions`, `OutputOptions` (see mss.api). They
are imported when they are first used: ``import mss`` alone does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mss.api.options import OutputOptions as OutputOptions
    from mss.api.options import SeparationOptions as SeparationOptions
    from mss.api.separator import SongSeparator as Separator

__version__ = "0.1.0"
__all__ = ["OutputOptions", "SeparationOptions", "Separator", "__version__"]

_LAZY = {
    "OutputOptions": ("mss.api.options", "OutputOptions"),
    "SeparationOptions": ("mss.api.options", "SeparationOptions"),
    "Separator": ("mss.api.separator", "SongSeparator"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
