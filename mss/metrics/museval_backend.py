"""BSS-eval v4 by the museval package itself: the reference for mss.metrics.bsseval.

Minutes and gigabytes a song. It is the protocol of SiSEC 2018 and of most published tables.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import Seconds
from mss.metrics.base import FrameScores, FramewiseMetric, Measure
from mss.metrics.frames import any_silent

_MEANING = {
    "museval_sdr": "signal to distortion ratio",
    "museval_isr": "image to spatial distortion ratio",
    "museval_sir": "signal to interference ratio",
    "museval_sar": "signal to artefacts ratio",
}
MEASURES = tuple(_MEANING)


@dataclass(frozen=True)
class MusevalConfig:
    """Keys of Museval. Published scores have both at one second.

    Attributes:
        window: seconds of one frame.
        hop: seconds between the starts of two frames.
    """

    window: Annotated[Seconds, Field(gt=0)] = Fraction(1)
    hop: Annotated[Seconds, Field(gt=0)] = Fraction(1)


class Museval(FramewiseMetric):
    """SDR, ISR, SIR and SAR of BSS-eval v4 in dB: the median of a song's frames.

    The frames' energies are compared after projections by 512-tap filters that are fitted over the
    whole song. A frame in which any reference or any estimate is all zero is NaN for every source,
    and is left out of the median. So is every frame of a song with a stem that is silent
    throughout: it has no score under this protocol.
    """

    Config = MusevalConfig

    def __init__(self, config: MusevalConfig | None = None) -> None:
        self.config = config or MusevalConfig()
        self.window, self.hop = self.config.window, self.config.hop

    @property
    def measures(self) -> tuple[Measure, ...]:
        window, hop = self.config.window, self.config.hop
        return tuple(
            Measure(
                name=name,
                unit="dB",
                higher_is_better=True,
                definition=(
                    f"BSS-eval v4 {meaning} (museval: one set of 512-tap filters for the song),"
                    f" median of frames of {window} s every {hop} s; a frame with an all-zero"
                    " reference or estimate is left out"
                ),
                citation="Stoter, Liutkus and Ito, SiSEC 2018, LVA/ICA 2018, arXiv 1804.06267",
                over_tracks="median",
                has_baseline=name in ("museval_sdr", "museval_sir"),
            )
            for name, meaning in _MEANING.items()
        )

    def frames(self, reference: Tensor, estimate: Tensor, samplerate: int) -> FrameScores:
        """Return the four ratios of each frame in dB.

        Args:
            reference: [S, C, T]; T samples shorter than a window are one frame, samples after the
                last whole frame are not seen.
            estimate: [S, C, T].
            samplerate: Hz.
        """
        window = int(self.config.window * samplerate)
        hop = int(self.config.hop * samplerate)
        count = max(1, (reference.shape[-1] - window + hop) // hop)
        if any_silent(reference) or any_silent(estimate):
            undefined = torch.full((reference.shape[0], count), torch.nan, dtype=torch.float64)
            return FrameScores({name: undefined.clone() for name in MEASURES})
        ratios = museval_ratios(_to_museval(reference), _to_museval(estimate), window, hop)
        return FrameScores(
            {
                name: torch.from_numpy(np.asarray(values, dtype=np.float64))
                for name, values in zip(MEASURES, ratios, strict=True)
            }
        )


def museval_ratios(
    reference: np.ndarray, estimate: np.ndarray, window: int, hop: int
) -> tuple[np.ndarray, ...]:
    """Return museval's four ratios, each [S, frames], of arrays [S, T, C]."""
    # A frame without any error is +inf dB; museval's logarithm would warn of it.
    with np.errstate(divide="ignore", invalid="ignore"):
        *ratios, _ = load_museval_metrics().bss_eval(
            reference,
            estimate,
            window=window,
            hop=hop,
            compute_permutation=False,
            framewise_filters=False,
            bsseval_sources_version=False,
        )
    return tuple(ratios)


@functools.cache
def load_museval_metrics() -> ModuleType:
    """Load museval's metrics, and nothing else of it.

    The package itself imports musdb and through it stempeg, which refuses to load where there is no
    ffmpeg program; the metrics need NumPy and SciPy only.

    Raises:
        ConfigError: museval is not installed.
    """
    package = importlib.util.find_spec("museval")  # finds it without importing it
    if package is None or package.origin is None:
        raise ConfigError(
            "test.metrics.museval: the package museval is not installed;"
            " pip install 'stemgrid[train]'"
        )
    spec = importlib.util.spec_from_file_location(
        "museval.metrics", Path(package.origin).with_name("metrics.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _to_museval(audio: Tensor) -> np.ndarray:
    return rearrange(audio.detach().cpu().double(), "s c t -> s t c").contiguous().numpy()
