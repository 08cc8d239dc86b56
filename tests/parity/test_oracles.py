"""Oracles equal other implementations: SciPy's transforms, open-unmix's Wiener filter."""

import sys
import types

import numpy as np
import pytest
import scipy.signal
import torch
from einops import rearrange
from torch import Tensor

from mss.core.stft import Stft
from mss.eval.estimators import Song
from mss.eval.oracles import make_oracle

pytestmark = pytest.mark.parity


def scene(length: int) -> Song:
    """Three coloured stereo sources, each with its place and its envelope."""
    generator = torch.Generator().manual_seed(0)
    dry = torch.randn(3, 1, length, generator=generator).double()
    dry = dry + torch.tensor([0.9, 0.0, -0.9])[:, None, None] * dry.roll(1, dims=-1)
    time = torch.arange(length) / length
    envelope = 1.01 + torch.sin(2 * torch.pi * torch.tensor([[3.0], [5], [8]]) * time)
    places = torch.tensor([[1.0, 0.3], [0.7, 0.7], [0.2, 1.0]])
    references = 0.1 * dry * envelope[:, None] * places[..., None]
    references = references + 0.01 * torch.randn(3, 2, length, generator=generator)
    return Song(None, references.sum(dim=0), references)  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("length", [30000, 30720, 3001])
def test_ratio_masks_equal_those_of_scipys_transforms(exponent: int, length: int) -> None:
    """What sigsep-mus-oracle calls: ``scipy.signal.stft(x, nperseg=2048)`` and its inverse."""
    song = scene(length)
    options = {"nperseg": 2048, "noverlap": 1024}
    *_, mix = scipy.signal.stft(song.mixture.numpy(), **options)
    *_, sources = scipy.signal.stft(song.references.numpy(), **options)
    power = np.abs(sources) ** exponent
    _, expected = scipy.signal.istft(power / power.sum(axis=0) * mix, **options)
    estimates = make_oracle(f"irm{exponent}")(song)
    # the window has the digits of single precision here; both ends are compared, too
    np.testing.assert_allclose(estimates, expected[..., :length], rtol=0, atol=1e-6)


def test_mwf_equals_one_iteration_of_openunmix_from_the_true_sources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # openunmix imports torchaudio for things that its filter never touches
    monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    from openunmix.filtering import expectation_maximization

    length = 20 * 1024  # a whole number of frames
    song = scene(length)
    stft = Stft(2048, 1024, pad_mode="constant")

    def as_theirs(spectra: Tensor, axes: str) -> Tensor:
        return rearrange(torch.view_as_real(spectra), axes).contiguous()

    x = as_theirs(stft(song.mixture), "c f n two -> n f c two")
    y = as_theirs(stft(song.references), "s c f n two -> n f c two s")
    # their noise floor is eps^1/2; far below the signal, as ours is
    filtered, _, _ = expectation_maximization(y, x, iterations=1, eps=1e-20)
    spectra = torch.view_as_complex(rearrange(filtered, "n f c two s -> s c f n two").contiguous())
    expected = stft.inverse(spectra, length)
    torch.testing.assert_close(make_oracle("mwf")(song), expected, rtol=0, atol=1e-6)
