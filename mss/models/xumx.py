"""X-UMX: Open-Unmix whose networks exchange what they know of the mixture, twice.

Sawata, Uhlich, Takahashi and Mitsufuji, "All for one and one for all: improving music separation by
bridging networks", ICASSP 2021 (arXiv 2010.04228). The networks' features are averaged after
the first layer and again where the recurrent layers' output joins them, so that every source is
decoded from the same features. This takes no parameter more than Open-Unmix.

A target network keeps the names of an Open-Unmix checkpoint (the two differ in what they connect).
The paper trains it with a combination loss over all subsets of the sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from mss.core.types import AudioSpec
from mss.models.openunmix import OpenUnmix, OpenUnmixConfig
from mss.nn.unmix import TargetNetwork


@dataclass(frozen=True)
class XUMXConfig(OpenUnmixConfig):
    """The keys of Open-Unmix and, as published, its defaults; see there."""


class XUMX(OpenUnmix):
    """X-UMX: target networks bridged by two averages, then a multichannel Wiener filter.

    With one source there is nothing to exchange, and this is Open-Unmix.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = XUMXConfig
    config: XUMXConfig

    def masks(self, frames: Tensor) -> list[Tensor]:
        """Map the mixture's lowest bins [B, N, C * bins_in] to a mask [B, N, C, F] a source."""
        targets = [target for target in self.targets if isinstance(target, TargetNetwork)]
        encoded = torch.stack([target.encode(frames) for target in targets]).mean(dim=0)
        recurrent = torch.stack([target.recur(encoded) for target in targets]).mean(dim=0)
        joined = torch.cat([encoded, recurrent], dim=-1)
        return [target.decode(joined) for target in targets]

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        return False  # all networks take part in the averages

    @classmethod
    def tiny(cls, spec: AudioSpec) -> XUMX:
        single = len(spec.sources) == 1
        config = XUMXConfig(
            segment=Fraction(1), hidden_size=16, nfft=512, nhop=128, residual=single
        )
        return cls(config, spec)
