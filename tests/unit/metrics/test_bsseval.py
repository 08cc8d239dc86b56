"""BSS-eval against a slow second form: least squares on explicit matrices of delayed channels."""

import logging
import math

import numpy as np
import pytest
import torch
from scipy.linalg import toeplitz
from torch import Tensor

from mss.core.errors import DataError
from mss.metrics.bsseval import TAPS, bss_eval, bss_eval_ratios
from mss.metrics.bsseval_metric import CSDR, BSSEval, FramesConfig
from mss.metrics.energy import do_nothing


def noise(sources: int, channels: int, length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sources, channels, length, generator=generator, dtype=torch.float64)


def delayed(channels: np.ndarray) -> np.ndarray:
    """Return the matrix [T + L - 1, K L] whose columns are channels [K, T], each delay of each."""
    column = np.pad(channels, ((0, 0), (0, TAPS - 1)))
    return np.hstack([toeplitz(wave, np.zeros(TAPS)) for wave in column])


def slow_ratios(reference: np.ndarray, estimate: np.ndarray) -> dict[str, list[float]]:
    """Return ISR, SIR and SAR of one frame that is the whole recording, for [S, C, T]."""

    def project(columns: np.ndarray, waves: np.ndarray) -> np.ndarray:
        """Return the projection of waves [C, T] on the columns' span."""
        padded = np.pad(waves, ((0, 0), (0, TAPS - 1))).T
        return (columns @ np.linalg.lstsq(columns, padded, rcond=None)[0]).T

    def db(above: np.ndarray, below: np.ndarray) -> float:
        return 10 * math.log10(np.square(above).sum() / np.square(below).sum())

    everything = delayed(reference.reshape(-1, reference.shape[-1]))
    found: dict[str, list[float]] = {"isr": [], "sir": [], "sar": []}
    for true, given in zip(reference, estimate, strict=True):
        target, heard = (np.pad(wave, ((0, 0), (0, TAPS - 1))) for wave in (true, given))
        own, every = project(delayed(true), given), project(everything, given)
        found["isr"].append(db(target, own - target))
        found["sir"].append(db(own, every - own))
        found["sar"].append(db(every, heard - every))
    return found


def test_the_projections_are_least_squares_fits() -> None:
    # longer than a block of the correlations, so that two of them add up
    reference = noise(2, 1, 5000)
    estimate = 0.7 * reference.roll(7, -1) + 0.3 * reference.flip(0) + 0.1 * noise(2, 1, 5000, 1)
    ratios = bss_eval_ratios(reference, estimate, math.inf, math.inf)
    expected = slow_ratios(reference.numpy(), estimate.numpy())
    for name, values in expected.items():
        assert getattr(ratios, name)[:, 0].tolist() == pytest.approx(values, abs=1e-9), name
    energy = reference.square().sum((1, 2)) / (estimate - reference).square().sum((1, 2))
    assert ratios.sdr[:, 0].tolist() == pytest.approx((10 * energy.log10()).tolist(), abs=1e-12)
    assert ratios.well_determined


def test_stereo_sources_are_fitted_from_both_channels() -> None:
    reference = noise(1, 2, 2500)
    estimate = reference.flip(1) + 0.1 * noise(1, 2, 2500, 1)  # left and right are swapped
    ratios = bss_eval_ratios(reference, estimate, math.inf, math.inf)
    expected = slow_ratios(reference.numpy(), estimate.numpy())
    assert ratios.isr.item() == pytest.approx(expected["isr"][0], abs=1e-9)
    assert ratios.sar.item() == pytest.approx(expected["sar"][0], abs=1e-9)
    assert ratios.sar > 20 > ratios.sdr  # a swap is a spatial distortion, no artefact


def band_limited(length: int) -> Tensor:
    """Return noise whose upper half of the spectrum is empty to the last bit, nearly."""
    spectrum = torch.fft.rfft(0.1 * noise(2, 1, length))
    spectrum[..., spectrum.shape[-1] // 2 :] = 0
    return torch.fft.irfft(spectrum, n=length)


def test_ratios_that_rounding_decides_are_told(caplog: pytest.LogCaptureFixture) -> None:
    reference = band_limited(9000)
    estimate = 0.8 * reference + 0.2 * reference.flip(0) + 0.001 * noise(2, 1, 9000, 1)
    ratios = bss_eval_ratios(reference, estimate, 4000, 4000)
    assert ratios.moves > 0.01
    assert not ratios.well_determined
    frames = BSSEval(FramesConfig()).frames(reference, estimate, 4000)
    assert [remark.split(":")[0] for remark in frames.remarks] == [
        "ISR, SIR and SAR depend on rounding"
    ]
    with caplog.at_level(logging.WARNING):
        bss_eval(reference.movedim(1, 2), estimate.movedim(1, 2), 4000, 4000)
    assert "depend on rounding" in caplog.text

    # the same in 16 bits has a floor in every band
    quantised = [torch.round(audio * 32768) / 32768 for audio in (reference, estimate)]
    ratios = bss_eval_ratios(*quantised, 4000, 4000)
    assert ratios.well_determined
    assert ratios.condition < 1e11


def test_they_are_told_of_the_few_frames_in_which_all_play() -> None:
    reference = band_limited(40000)
    # a swell within frames 6 to 8 of 40, which leaves the band as empty as it was
    swell = torch.exp(-(((torch.arange(40000) - 7500) / 230).double() ** 2))
    reference[1] *= torch.where(swell > 1e-18, swell, 0)
    estimate = 0.8 * reference + 0.2 * reference.flip(0) + 0.001 * noise(2, 1, 40000, 1)
    ratios = bss_eval_ratios(reference, estimate, 1000, 1000)
    assert (~ratios.sir.isnan()).sum() == 2 * 3
    assert not ratios.well_determined


def test_layouts() -> None:
    reference, estimate = noise(2, 1, 3000), noise(2, 1, 3000, 1)
    arrays = [audio.numpy().transpose(0, 2, 1) for audio in (reference, estimate)]
    from_arrays = bss_eval(*arrays, window=1000, hop=1000)
    from_tensors = bss_eval(reference[:, 0], estimate[:, 0], window=1000, hop=1000)  # [S, T]
    assert [type(values) for values in from_arrays] == [np.ndarray] * 4
    for ours, theirs in zip(from_tensors, from_arrays, strict=True):
        assert ours.shape == (2, 3)
        assert ours.dtype == torch.float64
        assert np.array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, e: (r, e[..., 1:]), "differ in sources, channels or samples"),
        (lambda r, e: (r[0, 0], e[0, 0]), r"takes \[S, T, C\] or \[S, T\], not \[2000\]"),
        (lambda r, e: (r, e * math.nan), "an estimate is infinite, too large or not a number"),
        (lambda r, e: (r * math.inf, e), "a reference is infinite, too large or not a number"),
        (lambda r, e: (r * 0, e), "a reference is silent throughout"),
        (lambda r, e: (r, e * 0), "an estimate is silent throughout"),
    ],
)
def test_what_can_not_be_scored_is_refused(change: object, message: str) -> None:
    assert callable(change)
    reference, estimate = change(noise(2, 1, 2000), noise(2, 1, 2000, 1))
    if reference.ndim == 3:
        reference, estimate = reference.movedim(1, 2), estimate.movedim(1, 2)
    with pytest.raises(DataError, match=message):
        bss_eval(reference, estimate)


def test_framings_without_frames_are_refused() -> None:
    for window, hop in ((0, 10), (10, 0), (-5, 10)):
        with pytest.raises(DataError, match="must be positive"):
            bss_eval(noise(1, 1, 100)[:, 0], noise(1, 1, 100, 1)[:, 0], window, hop)


def test_sdr_alone_and_with_the_others() -> None:
    reference, estimate = noise(2, 2, 3500), noise(2, 2, 3500, 1)
    reference[0, :, 1000:2000] = 0
    of_all = BSSEval().frames(reference, estimate, 1000).values
    alone = CSDR().frames(reference, estimate, 1000).values
    assert list(of_all) == ["csdr", "isr", "sir", "sar"]
    assert torch.equal(alone["csdr"].nan_to_num(9), of_all["csdr"].nan_to_num(9))
    assert alone["csdr"].isnan().tolist() == [[False, True, False]] * 2
    assert BSSEval().measures[0] == CSDR().measures[0]  # one column, one protocol

    mixture = reference.sum(0)
    nothing = do_nothing(reference, mixture)
    bar = BSSEval().baseline(reference, nothing, mixture, 1000)
    assert list(bar) == ["csdr"]
    assert torch.equal(bar["csdr"], CSDR().score(reference, nothing, 1000)["csdr"])
