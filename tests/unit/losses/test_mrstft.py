"""The multi-resolution STFT loss against auraloss' formula, on an STFT written in numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.types import Estimate, Target

SOURCES = ("drums", "bass", "vocals")
MakeExample = Callable[..., tuple[Estimate, Target]]
SIZES = {"nffts": [512, 256], "nhops": [100, 64]}
WEIGHTS = {"convergence": 0.7, "log_magnitude": 1.3, "magnitude": 0.2, "complex": 0.4}


def build(**values: Any) -> Any:
    return registry.build("loss", {"name": "mrstft", **SIZES, **values}, SOURCES)


def test_equals_the_formula(make_example: MakeExample, numpy_stft: Any) -> None:
    estimate, target = make_example()
    # auraloss clamps powers at its eps; here it is too small to matter
    got = build(**WEIGHTS, eps=1e-14).errors(estimate, target)
    expected = dict.fromkeys(WEIGHTS, np.zeros((4, 3)))
    for nfft, nhop in zip(*SIZES.values(), strict=True):
        for item, row in np.ndindex(4, 3):
            for channel in range(2):
                f, y = (
                    numpy_stft(x[item, row, channel], nfft, nhop)
                    for x in (estimate.wave, target.sources)
                )
                size, reference = np.abs(f), np.abs(y)
                distances = {
                    "convergence": np.linalg.norm(size - reference) / np.linalg.norm(reference),
                    "log_magnitude": np.abs(np.log(size) - np.log(reference)).mean(),
                    "magnitude": np.abs(size - reference).mean(),
                    "complex": np.abs(f - y).mean(),
                }
                for key, distance in distances.items():
                    expected[key] = expected[key].copy()
                    expected[key][item, row] += distance / 4  # 2 resolutions, 2 channels
    for key, values in expected.items():
        # the logarithms of the few bins that are nearly 0 in float32
        np.testing.assert_allclose(got.terms[key].numpy(), values, rtol=1e-4, err_msg=key)
    total = sum(WEIGHTS[key] * values for key, values in expected.items())
    np.testing.assert_allclose(got.total.numpy(), total, rtol=1e-4)


def test_terms_without_weight_are_not_computed(make_example: MakeExample) -> None:
    report = build(log_magnitude=0.0)(*make_example())
    assert set(report.parts) == {*SOURCES, "convergence"}
    assert report.total == report.parts["convergence"]


def test_only_the_complex_term_sees_phases(make_example: MakeExample) -> None:
    _, target = make_example()
    upside_down = Estimate(-target.sources)
    report = build(magnitude=1.0, complex=1.0)(upside_down, target)
    assert report.parts["log_magnitude"] == 0
    assert report.parts["convergence"] < 0.01  # eps alone
    assert report.parts["complex"] > 1


def test_silence_divides_by_the_floor(make_example: MakeExample) -> None:
    """White noise at the floor against silence converges as against itself: 1."""
    _, target = make_example(length=20_000)
    generator = torch.Generator().manual_seed(3)
    noise = 1e-2 * torch.randn(target.sources.shape, generator=generator)
    silence = Target(torch.zeros_like(noise), target.weight)
    report = build(log_magnitude=0.0, floor=1e-2, eps=1e-12)(Estimate(noise), silence)
    assert report.total.item() == pytest.approx(1, rel=0.02)  # a finite sample's rms


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nhops": [100]}, r"loss\.nhops: 1 hops for 2 windows"),
        ({"nffts": [], "nhops": []}, r"loss\.nhops"),
        ({"nhops": [100, 200]}, r"loss\.nhops: 200 .* at most half of nffts = 256"),
        ({"nffts": [512, 255]}, r"loss\.nffts: 255 is not an even"),
        ({"complex": -1.0}, r"loss\.complex: -1\.0"),
        ({"convergence": 0.0, "log_magnitude": 0.0}, r"every term has weight 0"),
        ({"eps": 0.0}, r"loss\.eps"),
        ({"floor": 0.0}, r"loss\.floor"),
    ],
)
def test_wrong_keys(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)
