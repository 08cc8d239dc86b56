"""From a calibrated score to how far a pseudo-label is learned from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOW_DB, HIGH_DB = 3.0, 9.0
"""Of the SDR: what is no better than the first counts nothing, what reaches the second fully."""


def weight(sdr: ArrayLike, low: float = LOW_DB, high: float = HIGH_DB) -> NDArray[np.float64]:
    """Return clip((sdr - low) / (high - low), 0, 1) of SDRs [...] in dB.

    Each source has a weight of its own, so that a bad "other" does not cost good vocals. The SDR is
    a calibrated one (mss.distill.quality.regressor); where there is none (NaN), the weight is 0:
    what nothing is known of is not learned from.
    """
    assert low < high, (low, high)
    shares = np.clip((np.asarray(sdr, np.float64) - low) / (high - low), 0.0, 1.0)
    return np.nan_to_num(shares, nan=0.0)
