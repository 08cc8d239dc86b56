"""From a foreign model to one of ours, every weight accounted for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mss.core.errors import ConfigError, DataError
from mss.core.registry import make_config, resolve
from mss.core.separator import Separator
from mss.core.types import InferenceDefaults
from mss.release.importers.foreign import Foreign
from mss.release.importers.translators import translator
from mss.release.package import state_faults


@dataclass(frozen=True)
class Built:
    """A foreign model as one of ours, in evaluation mode; the rest as in Imported."""

    model: Separator
    arch: str
    inference: InferenceDefaults
    note: str | None = None


def build(foreign: Foreign) -> Built:
    """Translate and build a foreign model.

    Raises:
        DataError: an option that we have no counterpart for, or weights that are missing, too
            many, of another shape, NaN or infinite.
    """
    path = foreign.path
    try:
        imported = translator(foreign.translator)(foreign.options, foreign.state)
        found = resolve("model", imported.arch, plugins=False)
        config = make_config(found.Config, imported.config, imported.arch)
        # Fresh weights are drawn only to be overwritten.
        with torch.random.fork_rng(devices=[]):
            model: Separator = found(config, imported.spec)
        faults = state_faults(model, imported.state)
        if not faults:
            model.load_state_dict(imported.state, strict=True)
        inference = imported.inference or model.inference
    except (ConfigError, DataError) as error:
        raise DataError(f"{path}: {error}") from error
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        MemoryError,
    ) as error:  # what a translator meets in a file may be of any type and size
        raise DataError(
            f"{path}: its options or weights are not those of a {foreign.translator} that this "
            f"version knows ({type(error).__name__}: {error}); check that its files belong together"
        ) from error
    if faults:
        raise DataError(
            f"{path}: its weights are not those of the {imported.arch} that its options describe "
            f"({faults}); check that its files belong together"
        )
    for name, value in imported.state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"{path}: {name}: holds NaN or infinite weights; fetch the file again")
    return Built(model.eval(), imported.arch, inference, imported.note)
