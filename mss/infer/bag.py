"""Several separators as one: the weighted mean of their estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn
from mss.infer.separate import model_chunk_fn


class Bag:
    """A chunk function that takes the mean over its members, weighted per member and source.

    estimate[s] = sum_m w[m, s] estimate_m[s] / sum_m w[m, s]

    Overlap-add is linear, so the mean of the members' chunks on one grid is the mean of their
    whole recordings. A member that no source has a weight for is not run.

    Args:
        members: chunk functions [B, C, T] -> [B, S, C, T].
        specs: what each member takes and gives.
        weights: one row a member, one weight a source; None: all equal.

    Attributes:
        spec: what the bag takes and gives.

    Raises:
        ConfigError: no members, members of different specs, or weights of the wrong shape,
            negative, not finite, or all zero for a source.
    """

    def __init__(
        self,
        members: Sequence[ChunkFn],
        specs: Sequence[AudioSpec],
        weights: Sequence[Sequence[float]] | None = None,
    ) -> None:
        if not members:
            raise ConfigError("members: a bag needs at least one model")
        assert len(members) == len(specs)
        self.spec = common_spec(specs)
        if weights is None:
            weights = [[1.0] * len(self.spec.sources) for _ in members]
        shares = normalised_weights(weights, len(members), self.spec.sources)
        self._members = [
            (member, row[:, None, None])  # [S, 1, 1], against [B, S, C, T]
            for member, row in zip(members, shares, strict=True)
            if row.any()
        ]

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, C, T] into [B, S, C, T]."""
        # with the first member as the start, a bag of one is bit-equal to its member
        total: Tensor | None = None
        for member, share in self._members:
            part = member(chunks) * share.to(chunks)
            total = part if total is None else total.add_(part)
        assert total is not None, "checked weights leave every source at least one member"
        return total


def bag_chunk_fn(
    models: Sequence[Separator],
    weights: Sequence[Sequence[float]] | None = None,
    device: torch.device | str | None = None,
) -> ChunkFn:
    """Return the chunk function of a release's models: of the one, or of the bag.

    Args:
        models: the members.
        weights: as in Bag.
        device: where the models are moved to; None: they stay where they are.

    Raises:
        ConfigError: as Bag.
    """
    if len(models) == 1:
        return model_chunk_fn(models[0], device)
    members = [model_chunk_fn(model, device) for model in models]
    return Bag(members, [model.spec for model in models], weights)


def common_spec(specs: Sequence[AudioSpec]) -> AudioSpec:
    """Return the spec that all members share.

    Raises:
        ConfigError: two of them differ; the field and the values are named.
    """
    first = specs[0]
    for index, spec in enumerate(specs[1:], start=1):
        for field in ("sources", "samplerate", "channels"):
            mine, other = getattr(first, field), getattr(spec, field)
            if mine != other:
                raise ConfigError(
                    f"members: member {index} has {field} {other}, member 0 has {mine}; "
                    "only models that agree can be in one bag"
                )
    return first


def normalised_weights(
    weights: Sequence[Sequence[float]], members: int, sources: tuple[str, ...]
) -> Tensor:
    """Return weights [M, S] whose sum over the members is 1 for every source."""
    if len(weights) != members:
        raise ConfigError(f"weights: {len(weights)} rows for {members} members; give one each")
    for index, row in enumerate(weights):
        if len(row) != len(sources):
            raise ConfigError(
                f"weights: member {index} has {len(row)} weights for the {len(sources)} sources "
                f"{', '.join(sources)}"
            )
        if not all(math.isfinite(weight) and weight >= 0 for weight in row):
            raise ConfigError(f"weights: member {index} has {list(row)}; weights are 0 or more")
    table = torch.tensor([list(row) for row in weights], dtype=torch.float64)
    sums = table.sum(dim=0)
    for source, total in zip(sources, sums.tolist(), strict=True):
        if total == 0:
            raise ConfigError(f"weights: no member has a weight for {source!r}; give one a weight")
    return table / sums
