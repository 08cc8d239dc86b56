"""The framewise ratios of BSS-eval v4 as metrics: all four, or SDR alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mss.core.types import Seconds
from mss.metrics.base import FrameScores, FramewiseMetric, Measure
from mss.metrics.bsseval import bss_eval_ratios
from mss.metrics.frames import Framing, any_silent, frame_energies

_CITATION = "Stoter, Liutkus and Ito, SiSEC 2018, LVA/ICA 2018, arXiv 1804.06267"


@dataclass(frozen=True)
class FramesConfig:
    """Keys of CSDR and BSSEval. Published scores have both at one second.

    Attributes:
        window: seconds of one frame.
        hop: seconds between the starts of two frames.
    """

    window: Annotated[Seconds, Field(gt=0)] = Fraction(1)
    hop: Annotated[Seconds, Field(gt=0)] = Fraction(1)

    def describe(self) -> str:
        """Return the part of a definition that says which frames."""
        return (
            f"median of frames of {self.window} s every {self.hop} s; a frame with an all-zero"
            " reference or estimate is left out"
        )

    def framing(self, length: int, samplerate: int) -> Framing:
        """Return the frames of a recording; a fraction of a sample is cut off, as museval does."""
        return Framing(length, int(self.window * samplerate), int(self.hop * samplerate))


class CSDR(FramewiseMetric):
    """The SDR of BSS-eval v4 (chunk SDR): median of a song's frames. As fast as an energy ratio.

    Equal to the SDR that museval gives; see mss.metrics.frames.
    """

    Config = FramesConfig

    def __init__(self, config: FramesConfig | None = None) -> None:
        self.config = config or FramesConfig()
        self.window, self.hop = self.config.window, self.config.hop

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (_csdr(self.config),)

    def frames(self, reference: Tensor, estimate: Tensor, samplerate: int) -> FrameScores:
        framing = self.config.framing(reference.shape[-1], samplerate)
        return FrameScores({"csdr": frame_energies(reference, estimate, framing).sdr().cpu()})


class BSSEval(FramewiseMetric):
    """SDR, ISR, SIR and SAR of BSS-eval v4 in dB: the median of a song's frames.

    The same numbers as museval's, of which a song with a stem that is silent throughout has none:
    every frame of it is left out. Doing nothing is rated by its SDR alone: the mixture has no
    artefacts, and its projections would take as long again.
    """

    Config = FramesConfig

    def __init__(self, config: FramesConfig | None = None) -> None:
        self.config = config or FramesConfig()
        self.window, self.hop = self.config.window, self.config.hop

    @property
    def measures(self) -> tuple[Measure, ...]:
        projected = {
            "isr": "image to spatial distortion ratio",
            "sir": "signal to interference ratio",
            "sar": "signal to artefacts ratio",
        }
        return (
            _csdr(self.config),
            *(
                Measure(
                    name=name,
                    unit="dB",
                    higher_is_better=True,
                    definition=(
                        f"BSS-eval v4 {meaning}, one set of 512-tap filters for the song,"
                        f" {self.config.describe()}"
                    ),
                    citation=_CITATION,
                    over_tracks="median",
                    has_baseline=False,
                )
                for name, meaning in projected.items()
            ),
        )

    def frames(self, reference: Tensor, estimate: Tensor, samplerate: int) -> FrameScores:
        framing = self.config.framing(reference.shape[-1], samplerate)
        names = [measure.name for measure in self.measures]
        if any_silent(reference) or any_silent(estimate):
            undefined = torch.full((reference.shape[0], len(framing)), math.nan).double()
            return FrameScores({name: undefined.clone() for name in names})
        ratios = bss_eval_ratios(reference, estimate, framing.window, framing.hop)
        values = (ratios.sdr, ratios.isr, ratios.sir, ratios.sar)
        return FrameScores(
            {name: value.cpu() for name, value in zip(names, values, strict=True)},
            () if ratios.well_determined else (ratios.remark(),),
        )

    def baseline(
        self, reference: Tensor, estimate: Tensor, mixture: Tensor, samplerate: int
    ) -> Mapping[str, Tensor]:
        return CSDR(self.config).score(reference, estimate, samplerate)


def _csdr(config: FramesConfig) -> Measure:
    return Measure(
        name="csdr",
        unit="dB",
        higher_is_better=True,
        definition=(
            "BSS-eval v4 signal to distortion ratio, 10 log10(|s|^2 / |e - s|^2) over channels and"
            f" samples, {config.describe()}"
        ),
        citation=_CITATION,
        over_tracks="median",
    )
