"""Leaving out the worst of a batch, for labels that can't all be trusted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mss.core import distrib, registry
from mss.core.errors import ConfigError
from mss.core.types import Estimate, Target
from mss.losses.base import Errors, LossConfig, SourceLoss

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TruncatedLossConfig(LossConfig):
    """Keys of the truncated loss.

    Attributes:
        weights: see LossConfig.
        quantile: of each source's errors in the batch; larger ones count 0.
        stages: other quantiles from some epochs on, by epoch (from 0); 1 leaves nothing out. Before
            the first of them, and where there is none, `quantile` holds.
        loss: the loss that is truncated, `name` and its keys.
    """

    quantile: float = 0.7
    stages: Mapping[int, float] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=lambda: {"name": "l1", "weights": {}})


class TruncatedLoss(SourceLoss):
    """Another loss, in which errors above a quantile of the batch count 0.

    What a model that is half trained finds hardest is often labelled wrongly. The winner of the
    label-noise board of the Sound Demixing Challenge 2023 (arXiv 2308.06979) truncated its L1 in
    stages: at 0.7 for 500 epochs, at 0.5 for 200 and at 0.3 for 200, the rate a third after the
    first (`schedule=steps`).

    For each source the quantile is taken over the items of the *global* batch of which it is known:
    all ranks, but with misc.accumulate only the items that are computed together, that is each part
    of a batch by itself. So `misc.accumulate` changes the result here, unlike elsewhere, and a part
    has to hold 2 items or more over all ranks. Equality stays in (`<=`), the least error always.

    What is left out still counts in the mean, so that a lower quantile is a smaller gradient. The
    share left out is the part `dropped`. Without gradients, as in validation, nothing is left out.

    Raises:
        ConfigError: a quantile outside (0, 1), or of a stage outside (0, 1]; a negative epoch; in
            training: a single item.
    """

    Config = TruncatedLossConfig
    compares_items = True

    def __init__(
        self, config: TruncatedLossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        if not 0 < config.quantile < 1:
            raise ConfigError(f"{where}.quantile: {config.quantile} is not between 0 and 1")
        for epoch, quantile in config.stages.items():
            if epoch < 0:
                raise ConfigError(f"{where}.stages: epoch {epoch} is negative; the first is 0")
            if not 0 < quantile <= 1:
                raise ConfigError(f"{where}.stages.{epoch}: {quantile} is not in (0, 1]")
        self.config = config
        self.quantile = self.quantile_at(0)
        inner = f"{where}.loss"
        self.loss: SourceLoss = registry.build("loss", config.loss, sources, inner, where=inner)

    def quantile_at(self, epoch: int) -> float:
        """Return the quantile of an epoch, counted from 0."""
        begun = [start for start in self.config.stages if start <= epoch]
        return self.config.stages[max(begun)] if begun else self.config.quantile

    def for_sum(self) -> SourceLoss:
        """Return the loss that is truncated: sums of sources are no labels that may be wrong."""
        return self.loss.for_sum()

    def on_epoch(self, epoch: int) -> None:
        super().on_epoch(epoch)
        self.loss.on_epoch(epoch)
        quantile = self.quantile_at(epoch)
        if quantile != self.quantile:
            logger.info(
                "%s: errors above the quantile %g count 0 from now on (%g before)",
                self.where,
                quantile,
                self.quantile,
            )
        self.quantile = quantile

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        errors = self.loss.weighted_errors(estimate, target)
        if not errors.total.requires_grad:
            return errors
        kept = errors.total.detach() <= self._bounds(errors.total.detach(), target.weight > 0)
        # a product, so that an error that is not a number stays one
        terms = {**errors.terms, "dropped": (~kept).to(errors.total)}
        return Errors(errors.total * kept, terms)

    def _bounds(self, errors: Tensor, known: Tensor) -> Tensor:
        """Return the quantile [S] of the known errors [B, S] of all ranks, +inf where none is."""
        gathered = distrib.gather((errors.cpu(), known.cpu()))
        of_all = torch.cat([of_rank for of_rank, _ in gathered])
        known = torch.cat([of_rank for _, of_rank in gathered])
        if len(of_all) == 1:
            raise ConfigError(
                f"{self.where}.quantile: a single item has no quantile; raise train.batch_size or "
                "lower misc.accumulate"
            )
        bounds = [
            torch.quantile(of_all[known[:, source], source], self.quantile)
            if known[:, source].any()
            else of_all.new_tensor(torch.inf)
            for source in range(of_all.shape[1])
        ]
        return torch.stack(bounds).to(errors.device)
