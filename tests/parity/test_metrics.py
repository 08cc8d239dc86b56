"""Metrics against Music-Source-Separation-Training's (MSST), and what those are made of.

torchaudio lies apart (its extension wants its own torch): bare packages of its names let Python
find the transforms that the others use, which are plain Python.
"""

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import librosa
import pytest
import torch
from auraloss.freq import MultiResolutionSTFTLoss
from torch import Tensor
from torchaudio_stub import USERS

from mss.core.mel import mel_filters
from mss.metrics.base import make_metrics

pytestmark = pytest.mark.parity

# of ours, by the name that MSST asks for
MSST = {
    "l1_freq": "l1_freq",
    "aura_stft": "aura_stft",
    "aura_mrstft": "aura_mrstft",
    "l1_snr": "l1_snr",
    "bleedless": "bleed_full",
    "fullness": "bleed_full",
    "bleedless_mr": "bleed_full_mr",
    "fullness_mr": "bleed_full_mr",
}


@pytest.fixture(scope="module")
def torchaudio_transforms(repository: Path) -> Iterator[None]:
    """The modules torchaudio.functional and torchaudio.transforms, without the extension."""
    root = repository / ".venv" / "peers" / "torchaudio"
    assert root.is_dir(), "make install puts torchaudio apart, beside the environment"
    with pytest.MonkeyPatch.context() as patch:

        def bare(name: str, folder: str, **values: Any) -> types.ModuleType:
            module = types.ModuleType(name)
            module.__path__ = [str(root / folder)]
            vars(module).update(values)
            patch.setitem(sys.modules, name, module)
            return module

        package = bare("torchaudio", "")
        bare("torchaudio._extension", "_extension", _IS_TORCHAUDIO_EXT_AVAILABLE=False)
        for name in ("functional", "transforms"):
            module = bare(f"torchaudio.{name}", name)
            setattr(package, name, module)
            inner = "functional" if name == "functional" else "_transforms"
            found = vars(importlib.import_module(f"torchaudio.{name}.{inner}"))
            vars(module).update({k: v for k, v in found.items() if not k.startswith("_")})
        yield
    for name in [name for name in sys.modules if name.startswith(("torchaudio", *USERS))]:
        del sys.modules[name]


def song(channels: int, seed: int = 0, length: int = 60000) -> tuple[Tensor, Tensor, Tensor]:
    """Reference and estimate [1, C, T] and a mixture [C, T]: coloured noise with a pause."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(3, channels, length, generator=generator)
    coloured = 0.05 * (noise + 0.9 * noise.roll(1, dims=-1) + 0.5 * noise.roll(2, dims=-1))
    coloured[0, :, 20000:32000] = 0
    reference, other, artefacts = coloured
    estimate = 0.8 * reference + 0.05 * other + 0.01 * artefacts
    return reference[None], estimate[None], reference + other


@pytest.mark.usefixtures("torchaudio_transforms")
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("theirs", MSST)
def test_msst(theirs: str, channels: int) -> None:
    from msst.utils.metrics import get_metrics

    reference, estimate, mixture = song(channels)
    for ours in (estimate, 0.1 * estimate, reference + 1e-3 * estimate.flip(-1)):
        arrays = (x.numpy() for x in (reference[0], ours[0], mixture))
        expected = get_metrics([theirs], *arrays)[theirs]
        scores = make_metrics({MSST[theirs]: None})[0].score(reference, ours, 44100)
        assert scores[theirs].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("torchaudio_transforms")
@pytest.mark.parametrize("samplerate", [44100, 32000])
def test_log_wmse(samplerate: int) -> None:
    """MSST's own call of the package is of a release before 1.0, whose arguments are gone."""
    from torch_log_wmse import LogWMSE

    reference, estimate, mixture = song(2)
    metric = make_metrics({"log_wmse": None})[0]
    scores = metric.score_with_mixture(reference, estimate, mixture, samplerate)
    expected = LogWMSE(sample_rate=samplerate)(
        mixture[None], estimate[:, :, None], reference[:, :, None]
    )
    assert scores["log_wmse"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("channels", [1, 2])
def test_mrstft_is_auralosss(channels: int) -> None:
    reference, estimate, _ = song(channels)
    theirs = MultiResolutionSTFTLoss(
        fft_sizes=[2048, 1024, 512], hop_sizes=[512, 256, 128], win_lengths=[2048, 1024, 512]
    )
    scores = make_metrics({"mrstft": None})[0].score(reference, estimate, 44100)
    expected = theirs(estimate, reference).item()
    assert scores["mrstft"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("samplerate", "n_fft", "count"),
    [(44100, 1024, 128), (44100, 8192, 1024), (22050, 512, 40), (96000, 1024, 128)],
)
def test_mel_filters_are_librosas(samplerate: int, n_fft: int, count: int) -> None:
    expected = torch.from_numpy(librosa.filters.mel(sr=samplerate, n_fft=n_fft, n_mels=count))
    torch.testing.assert_close(
        mel_filters(samplerate, n_fft, count), expected, rtol=1e-5, atol=1e-9
    )
