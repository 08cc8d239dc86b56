"""nSDR, SI-SDR and the best constant gain against their definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from mss.metrics.energy import NSDR, SISDR, NSDRConfig, SISDRConfig, best_constant_gain, do_nothing


def example() -> tuple[Tensor, Tensor]:
    """Return references and estimates [3, 2, 400]."""
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(3, 2, 400, generator=generator) * 0.1 + 0.02
    estimate = 0.7 * reference + 0.03 * torch.randn(3, 2, 400, generator=generator)
    return reference, estimate


def test_nsdr_is_the_ratio_of_energies() -> None:
    reference, estimate = example()
    scores = NSDR()(reference, estimate, 44100)
    assert scores.dtype == torch.float64
    for source in range(3):
        signal = distortion = 0.0
        for s, e in zip(
            reference[source].flatten().tolist(), estimate[source].flatten().tolist(), strict=True
        ):
            signal += s * s
            distortion += (s - e) ** 2
        expected = 10 * math.log10((signal + 1e-7) / (distortion + 1e-7))
        assert scores[source].item() == pytest.approx(expected, abs=1e-9)


def test_nsdr_of_a_known_error() -> None:
    reference, _ = example()
    # the error is a tenth of the signal: 20 dB, up to eps and the rounding of 1.1 s to float32
    assert NSDR()(reference, 1.1 * reference, 1).tolist() == pytest.approx([20.0] * 3, abs=1e-5)


def test_nsdr_is_bounded_by_eps() -> None:
    reference, _ = example()
    energy = reference.double().square().sum(dim=(1, 2))
    expected = 10 * torch.log10((energy + 1e-3) / 1e-3)
    torch.testing.assert_close(NSDR(NSDRConfig(eps=1e-3))(reference, reference, 1), expected)


def test_si_sdr_is_the_mean_over_channels() -> None:
    reference, estimate = example()
    for zero_mean in (True, False):
        scores = SISDR(SISDRConfig(zero_mean=zero_mean))(reference, estimate, 44100)
        for source in range(3):
            of_channels = []
            for channel in range(2):
                s = reference[source, channel].double().numpy()
                e = estimate[source, channel].double().numpy()
                if zero_mean:
                    s, e = s - s.mean(), e - e.mean()
                # the projection by least squares, an independent route to the gain
                gain = np.linalg.lstsq(s[:, None], e, rcond=None)[0][0]
                of_channels.append(
                    10 * np.log10(np.sum((gain * s) ** 2) / np.sum((gain * s - e) ** 2))
                )
            assert scores[source].item() == pytest.approx(np.mean(of_channels), abs=1e-6)


def test_si_sdr_ignores_the_scale_and_nsdr_does_not() -> None:
    reference, estimate = example()
    for scale in (1e-3, -1.0, 50.0):
        # scaling in float32 rounds each sample by 6e-8
        torch.testing.assert_close(
            SISDR()(reference, scale * estimate, 1),
            SISDR()(reference, estimate, 1),
            rtol=0,
            atol=1e-5,
        )
    assert (NSDR()(reference, 0.5 * estimate, 1) < NSDR()(reference, estimate, 1)).all()


def test_si_sdr_bounds() -> None:
    reference, estimate = example()
    assert SISDR()(reference, reference, 1).tolist() == pytest.approx([120.0] * 3, abs=0.1)
    assert SISDR()(reference, torch.zeros_like(estimate), 1).tolist() == pytest.approx([-120.0] * 3)


@pytest.mark.parametrize("metric", [NSDR(), SISDR()])
def test_a_silent_reference_has_no_score(metric: NSDR | SISDR) -> None:
    reference, estimate = example()
    reference[1] = 0
    scores = metric(reference, estimate, 1)
    assert scores.isnan().tolist() == [False, True, False]
    # an almost silent one has: only exact zeros are silent
    reference[1] = 1e-6 * torch.randn(2, 400, generator=torch.Generator().manual_seed(1))
    assert metric(reference, estimate, 1)[1] < -20


def test_si_sdr_leaves_out_a_silent_channel() -> None:
    reference, estimate = example()
    reference[:, 1] = 0
    torch.testing.assert_close(
        SISDR()(reference, estimate, 1), SISDR()(reference[:, :1], estimate[:, :1], 1)
    )


def test_the_best_constant_gain_is_the_best() -> None:
    reference, _ = example()
    mixture = reference.sum(dim=0)
    gains = best_constant_gain(reference, mixture)
    for source in range(3):
        target = reference[source : source + 1]

        def loss(gain: float, target: Tensor = target) -> float:
            return -NSDR(NSDRConfig(eps=1e-12))(target, gain * mixture.double()[None], 1).item()

        found = minimize_scalar(loss, bounds=(-2, 2), method="bounded", options={"xatol": 1e-10})
        # around a maximum the score moves by the square of the gain's error
        assert gains[source].item() == pytest.approx(found.x, abs=1e-6)
    scores = NSDR()(reference, do_nothing(reference, mixture), 1)
    for gain in (0.0, 0.25, 0.5, 1.0):
        plain = NSDR()(reference, (gain * mixture).expand_as(reference), 1)
        assert (scores >= plain - 1e-6).all()
    # s = g x + rest with rest orthogonal to x: the score in closed form
    x, s = mixture.double(), reference.double()
    share = (s * x).sum(dim=(1, 2)) ** 2 / (x.square().sum() * s.square().sum(dim=(1, 2)))
    # the float32 estimate rounds the error by 1e-7 of its size
    torch.testing.assert_close(scores, -10 * torch.log10(1 - share), rtol=0, atol=1e-5)


def test_doing_nothing_with_silence() -> None:
    silence = torch.zeros(2, 100)
    assert not do_nothing(torch.zeros(3, 2, 100), silence).any()
    assert best_constant_gain(torch.ones(3, 2, 100), silence).tolist() == [0, 0, 0]


def test_shapes_are_not_broadcast() -> None:
    reference, estimate = example()
    with pytest.raises(AssertionError, match="reference"):
        NSDR()(reference, estimate[:1], 1)
