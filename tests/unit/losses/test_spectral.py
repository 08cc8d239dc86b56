"""The spectral loss against its formula on an STFT written in numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.stft import Stft
from mss.core.types import Estimate, Target
from mss.losses.spectral import frame_blocks
from mss.nn.spectral import CentredStft

SOURCES = ("drums", "bass", "vocals")
MakeExample = Callable[..., tuple[Estimate, Target]]

FORMULAS: dict[tuple[str, str], Callable[[Any, Any], Any]] = {
    ("complex", "l1"): lambda f, y: np.abs(f - y),
    ("complex", "mse"): lambda f, y: np.abs(f - y) ** 2,
    ("real_imag", "l1"): lambda f, y: np.abs((f - y).real) + np.abs((f - y).imag),
    ("real_imag", "mse"): lambda f, y: (f - y).real ** 2 + (f - y).imag ** 2,
    ("magnitude", "l1"): lambda f, y: np.abs(np.abs(f) - np.abs(y)),
    ("magnitude", "mse"): lambda f, y: (np.abs(f) - np.abs(y)) ** 2,
}


@pytest.mark.parametrize(("domain", "error"), FORMULAS)
def test_equals_the_formula(
    make_example: MakeExample, numpy_stft: Any, domain: str, error: str
) -> None:
    estimate, target = make_example()
    values = {"name": "spectral", "domain": domain, "error": error, "nfft": 512, "nhop": 200}
    got = registry.build("loss", values, SOURCES).errors(estimate, target).total
    ours, reference = (numpy_stft(x, 512, 200) for x in (estimate.wave, target.sources))
    expected = FORMULAS[domain, error](ours, reference).mean(axis=(2, 3, 4))
    # float32 transforms of 512 samples
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)


def test_a_models_spectra_are_compared_through_its_own_transform(make_example: MakeExample) -> None:
    estimate, target = make_example()
    stft: Any = CentredStft(512)  # another scale and hop, and one bin less
    generator = torch.Generator().manual_seed(1)
    spec = torch.randn(stft(estimate.wave).shape, dtype=torch.complex64, generator=generator)
    spec.requires_grad_()
    loss = registry.build("loss", {"name": "spectral", "error": "mse"}, SOURCES)
    report = loss(Estimate(estimate.wave, spec, stft), target)
    report.total.backward()
    difference = spec.detach() - stft(target.sources)
    assert report.total.item() == pytest.approx(difference.abs().square().mean().item(), rel=1e-5)
    # torch's gradient of a real function of a complex number is d/dRe + i d/dIm
    torch.testing.assert_close(spec.grad, 2 * difference / difference.numel())


def test_spectra_that_no_wave_has_are_seen(make_example: MakeExample) -> None:
    """Their wave is right, but overlapping windows hide what they hold besides."""
    _, target = make_example()
    stft = Stft(512, 128)
    spec = stft(target.sources)
    length = target.sources.shape[-1]
    noise = torch.randn(spec.shape, dtype=spec.dtype, generator=torch.Generator().manual_seed(2))
    hidden = noise - stft(stft.inverse(noise, length))  # of which the inverse is nothing
    assert stft.inverse(hidden, length)[..., 256:-256].abs().max() < 1e-5
    loss = registry.build("loss", {"name": "spectral"}, SOURCES)
    report = loss(Estimate(target.sources, spec + hidden, stft), target)
    assert report.total > 0.1


@pytest.mark.parametrize("nhop", [64, 100, 256])
@pytest.mark.parametrize("length", [1, 256, 257, 1500, 6400, 6401, 6655])
def test_blocks_of_frames_are_the_whole(nhop: int, length: int) -> None:
    stft = Stft(512, nhop)
    wave = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    blocks = list(frame_blocks(stft, length, 7))
    assert len(blocks) == -(-stft.frames(length) // 7)
    spectra = [stft(wave[..., samples])[..., kept] for samples, kept in blocks]
    torch.testing.assert_close(torch.cat(spectra, dim=-1), stft(wave))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nfft": 511}, r"loss\.nfft: 511 is not an even"),
        ({"nfft": 512, "nhop": 300}, r"loss\.nhop: 300 .* at most half of nfft = 512"),
        ({"nhop": 0}, r"loss\.nhop: 0"),
        ({"domain": "phase"}, r"loss\.domain"),
    ],
)
def test_wrong_keys(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.build("loss", {"name": "spectral", **changes}, SOURCES)
