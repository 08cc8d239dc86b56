"""The scores of one source in one segment: names, directions and what they are made from.

None of them knows the truth, and none is to be trusted before `tools.validate_score` has shown that
it orders segments as their true SDR does, and does so better than the level of the estimate alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mss.distill.quality.envelopes import EnvelopeMoments
from mss.distill.quality.ratio import Ratio

RESIDUAL = "residual"
AGREEMENT = "agreement"
MODEL_AGREEMENT = "model_agreement"
RESEPARATION = "reseparation"
LEAKAGE = "leakage"
REMIX = "remix"
ENVELOPES = "envelopes"
ENERGY = "energy"


@dataclass(frozen=True)
class Score:
    """What a score says.

    Attributes:
        unit: "dB", or "" of a correlation.
        higher_is_better: which way it points, if it works.
        meaning: its definition, in a line.
    """

    unit: str
    higher_is_better: bool
    meaning: str

    @property
    def sign(self) -> int:
        """What a score is multiplied with so that higher is better."""
        return 1 if self.higher_is_better else -1


SCORES: Mapping[str, Score] = {
    RESIDUAL: Score(
        "dB", True, "|x|^2 / |x - sum f|^2: how nearly the sources add up to the mixture"
    ),
    AGREEMENT: Score(
        "dB", True, "SDR of the estimates of shifted, swapped and inverted mixtures, to their mean"
    ),
    MODEL_AGREEMENT: Score(
        "dB", True, "SDR of the estimates of two different models, to their mean"
    ),
    RESEPARATION: Score("dB", True, "SDR of f(f_i)_i to f_i: an estimate separated again, alone"),
    LEAKAGE: Score("dB", False, "what f puts into the other sources of f_i, relative to f_i"),
    REMIX: Score(
        "dB", True, "SDR of estimates mixed anew, at other gains and shifts, and separated again"
    ),
    ENVELOPES: Score(
        "", False, "largest |correlation| of log-mel envelopes with those of another source"
    ),
    ENERGY: Score("dB", True, "|f_i|^2 / |x|^2: level of the estimate; the trivial baseline"),
}
"""All scores, in the order of tables. ENERGY gates, and is what the others have to beat."""


@dataclass(frozen=True)
class Evidence:
    """What scores are made from, of one segment or the sum over several.

    Attributes:
        ratios: by name of the score; each of S sources.
        envelopes: for ENVELOPES; None: not asked for.
    """

    ratios: Mapping[str, Ratio]
    envelopes: EnvelopeMoments | None = None

    def __add__(self, other: Evidence) -> Evidence:
        assert self.ratios.keys() == other.ratios.keys()
        envelopes = None
        if self.envelopes is not None and other.envelopes is not None:
            envelopes = self.envelopes + other.envelopes
        ratios = {name: ratio + other.ratios[name] for name, ratio in self.ratios.items()}
        return Evidence(ratios, envelopes)

    def scores(self) -> dict[str, Tensor]:
        """Return {score: [S] float64}, in the order of SCORES; NaN where it is not defined."""
        found = {name: ratio.db for name, ratio in self.ratios.items()}
        if self.envelopes is not None:
            found[ENVELOPES] = self.envelopes.strongest()
        return {name: found[name].to(torch.float64) for name in SCORES if name in found}
