"""What every loss is: a mean over the items and sources of a batch.

A loss only says how wrong each source of each item is. Weights, means, the log's parts and the
promises that the solver rests on are made here, once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from einops import einsum
from torch import Tensor

from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.types import Estimate, LossReport, Remainder, Target

REMAINDER = "remainder"
"""Name of the loss's part that is of sums of sources."""


@dataclass(frozen=True)
class LossConfig:
    """Keys of every loss.

    Attributes:
        weights: weight of a source by its name; 1 where it is not named, 0 leaves it out.
    """

    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Errors:
    """How wrong an estimate is.

    Attributes:
        total: [B, S], what is minimised.
        terms: [B, S] each, what it is made of, by name, for the log.
    """

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class SourceLoss(ABC):
    """The mean of an error of each item's each source:

        total = sum_bs w[b,s] v[s] e[b,s] / sum_bs w[b,s] v[s]

    with e[b,s] from `errors`, w the target's weight and v the weight of the source. The parts are
    the same mean for each source alone, without v, and the mean of each term, as the total's.

    A batch in which every weight is zero has nothing to learn from: its total is exactly 0 with a
    zero gradient. A source's part whose weights are all zero is NaN: nothing is known of it.
    A non-finite error stays non-finite even where its weight is zero, so that no fault hides.

    Where only the sum of some sources is known (`Target.remainder`), it enters as one source more:
    the error of the sum of their estimates, with the weight that the remainder has.

    Args:
        config: typed keys.
        sources: names of the S axis.
        where: the config key that this loss is built from, for messages.

    Raises:
        ConfigError: a weight for a source that does not exist, a negative or non-finite one, or
            no positive one at all.
    """

    Config: ClassVar[type[LossConfig]] = LossConfig

    compares_items = False
    """Whether an item's error depends on the other items, also on those of other ranks.

    Such a loss is a collective: every rank calls it equally often.
    """

    def __init__(self, config: LossConfig, sources: tuple[str, ...], where: str = "loss") -> None:
        for name, weight in config.weights.items():
            if name not in sources:
                hint = nearest_name_hint(name, sources)
                raise ConfigError(f"{where}.weights.{name}: the model has no such source.{hint}")
            check_not_negative(weight, f"{where}.weights.{name}", "weight")
        self.sources = sources
        self.where = where
        self._config = config
        self._of_sum: SourceLoss | None = None
        self._epoch = 0
        self._source_weights = torch.tensor(
            [config.weights.get(name, 1.0) for name in sources], dtype=torch.float32
        )
        if not self._source_weights.any():
            raise ConfigError(
                f"{where}.weights: every source has weight 0; nothing would be learnt"
            )

    @abstractmethod
    def errors(self, estimate: Estimate, target: Target) -> Errors:
        """Return how wrong each source of each item is, [B, S], whatever its weight.

        Finite, with a finite gradient, wherever estimate and target are: on silence too.
        """

    def __call__(self, estimate: Estimate, target: Target) -> LossReport:
        """Compare waves [B, S, C, T] in float32, whatever precision the network ran in."""
        assert estimate.wave.shape == target.sources.shape, (
            f"estimate {tuple(estimate.wave.shape)}, target {tuple(target.sources.shape)}"
        )
        errors = self.errors(estimate, target)
        assert errors.total.shape == target.weight.shape, tuple(errors.total.shape)
        weight = target.weight.to(errors.total)
        weighted = weight * self._weights_on(weight.device)
        whole, summed = weighted.sum(), (weighted * errors.total).sum()
        parts, part_weights = {}, {}
        if target.remainder is not None:
            of_sum = target.remainder.weight.to(errors.total)
            error = (of_sum * self._remainder_errors(estimate, target.remainder, target.mix)).sum()
            whole, summed = whole + of_sum.sum(), summed + error
            part_weights[REMAINDER] = of_sum.sum().item()
            parts[REMAINDER] = error.detach() / of_sum.sum()
        # The smallest normal number only matters where every weight is zero: 0 / tiny = 0.
        whole = whole.clamp_min(torch.finfo(whole.dtype).tiny)
        total = summed / whole

        known = weight.sum(dim=0)  # [S]
        of_source = (weight * errors.total.detach()).sum(dim=0) / known
        parts |= dict(zip(self.sources, of_source.unbind(), strict=True))
        part_weights |= dict(zip(self.sources, known.tolist(), strict=True))
        for name, term in errors.terms.items():
            parts[name] = (weighted * term.detach()).sum() / whole
        return LossReport(total, parts, part_weights)

    def weight(self, target: Target) -> Tensor:
        """Return what the total is a mean over: sum_bs w[b,s] v[s], and the remainders' weights."""
        weight = target.weight.to(torch.float32)
        whole = (weight * self._weights_on(weight.device)).sum()
        return whole if target.remainder is None else whole + target.remainder.weight.sum()

    def _remainder_errors(
        self, estimate: Estimate, remainder: Remainder, mix: Tensor | None
    ) -> Tensor:
        """Return the error [B] of the sums of the estimates that a remainder is made of."""
        if self._of_sum is None:
            self._of_sum = self.for_sum()
            self._of_sum.on_epoch(self._epoch)
        member = remainder.members.to(estimate.wave)  # [B, S]
        wave = einsum(member, estimate.wave, "b s, b s c t -> b c t")
        spec = estimate.spec
        if spec is not None:
            spec = einsum(member.to(spec), spec, "b s, b s c f n -> b c f n")[:, None]
        target = Target(remainder.wave[:, None], remainder.weight[:, None], mix)
        summed = Estimate(wave[:, None], spec, estimate.stft)
        return self._of_sum.errors(summed, target).total[:, 0]

    def on_epoch(self, epoch: int) -> None:
        """Take notice of the epoch that begins, counted from 0: a loss may change by stages.

        What a loss is in an epoch depends on nothing else, so that a resumed run has the same one.
        """
        self._epoch = epoch
        if self._of_sum is not None:
            self._of_sum.on_epoch(epoch)

    def for_sum(self) -> SourceLoss:
        """Return the same loss for one source, which is a sum of others."""
        return type(self)(replace(self._config, weights={}), (REMAINDER,), self.where)

    def weighted_errors(self, estimate: Estimate, target: Target) -> Errors:
        """Return errors that another loss can take in: e[b,s] v[s] / mean(v).

        Where all is known, their plain mean is this loss' total.
        """
        errors = self.errors(estimate, target)
        relative = self._weights_on(errors.total.device)
        relative = relative / relative.mean()
        return Errors(
            errors.total * relative, {key: term * relative for key, term in errors.terms.items()}
        )

    def _weights_on(self, device: torch.device) -> Tensor:
        """Return the weights of the sources [S] on `device`."""
        if self._source_weights.device != device:
            # moved where the device changes (validation may be elsewhere), not at every step
            self._source_weights = self._source_weights.to(device)
        return self._source_weights


def check_not_negative(value: float, key: str, what: str) -> None:
    """Raise a ConfigError unless `value` is a finite number of at least 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{key}: {value} is not a {what}; give 0 or more")


def check_positive(value: float, key: str) -> None:
    """Raise a ConfigError unless `value` is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{key}: {value} is not positive")
