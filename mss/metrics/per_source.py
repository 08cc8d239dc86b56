"""What the metrics share that look at one source at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FixedConfig:
    """No key: the definition is the one that the field's tables have."""


def each_source(
    reference: Tensor,
    estimate: Tensor,
    score: Callable[[Tensor, Tensor], Tensor],
    defined_in_silence: bool = False,
) -> Tensor:
    """Return the scores [S, ...] float64 of references and estimates [S, C, T].

    Only one source's spectra are held at any time.

    Args:
        reference: [S, C, T].
        estimate: [S, C, T].
        score: of the reference and the estimate [C, T] of one source.
        defined_in_silence: keep the scores of all-zero references, which are NaN otherwise.
    """
    assert reference.shape == estimate.shape and reference.ndim == 3, (
        f"reference {tuple(reference.shape)}, estimate {tuple(estimate.shape)}"
    )
    scores = torch.stack([score(*pair).double() for pair in zip(reference, estimate, strict=True)])
    if not defined_in_silence:
        silent = ~reference.flatten(start_dim=1).any(dim=1)
        scores[silent] = torch.nan
    return scores
