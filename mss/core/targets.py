"""From the stems of a data set to the sources of a model.

The two are not the same: one set's drums, bass and other are one model's accompaniment, and a model
may want fewer sources than there are stems. A TargetMap says which stems sum to which source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from einops import einsum
from torch import Tensor

from mss.core.errors import ConfigError, nearest_name_hint


@dataclass(frozen=True)
class TargetMap:
    """Which stems sum to which source.

    Attributes:
        sources: names of the model's sources, in the order of the S axis.
        stems: for each source the stems it is the sum of.
    """

    sources: tuple[str, ...]
    stems: tuple[tuple[str, ...], ...]

    @classmethod
    def make(
        cls, targets: Mapping[str, Iterable[str]] | None, available: Iterable[str]
    ) -> TargetMap:
        """Build the map of `targets` ({source: [stem, ...]}); empty or None: each stem itself.

        Args:
            targets: as in the yaml group `targets`.
            available: stems of the data set.

        Raises:
            ConfigError: a source without stems, a stem that the set does not have, or one that
                counts twice.
        """
        known = tuple(available)
        if not targets:
            return cls(known, tuple((stem,) for stem in known))
        rows = {source: tuple(stems) for source, stems in targets.items()}
        owner: dict[str, str] = {}
        for source, stems in rows.items():
            if not stems:
                raise ConfigError(f"targets.{source}: names no stem; give at least one of {known}")
            for stem in stems:
                if stem not in known:
                    hint = nearest_name_hint(stem, known)
                    raise ConfigError(f"targets.{source}: the data has no stem {stem!r}.{hint}")
                if stem in owner:
                    raise ConfigError(
                        f"targets.{source}: the stem {stem!r} already counts for {owner[stem]!r}"
                    )
                owner[stem] = source
        return cls(tuple(rows), tuple(rows.values()))

    def matrix(self, names: Iterable[str]) -> Tensor:
        """Return the [S, K] matrix of ones and zeros for stems in the order of `names`."""
        order = tuple(names)
        matrix = torch.zeros(len(self.sources), len(order))
        for row, stems in enumerate(self.stems):
            for stem in stems:
                matrix[row, order.index(stem)] = 1
        return matrix

    def sum_stems(self, stems: Tensor, names: Iterable[str]) -> Tensor:
        """Map stems [..., K, C, T], in the order of `names`, to sources [..., S, C, T]."""
        matrix = self.matrix(names).to(stems)
        return einsum(matrix, stems, "s k, ... k c t -> ... s c t")

    @property
    def all_stems(self) -> tuple[str, ...]:
        """Every stem that some source needs."""
        return tuple(stem for stems in self.stems for stem in stems)
