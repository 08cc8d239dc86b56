"""BS-RoFormer against two implementations with the same weights: MSST's, whose checkpoints are
imported, and lucidrains' bs-roformer, whose later features are turned off."""

import re
from typing import Any

import bs_roformer
import pytest
import torch
from msst.models.bs_roformer import BSRoformer as MsstBSRoformer
from roformer_pairs import STEMS, assert_parity, build, noise, vary, yaml_of
from torch import nn

from mss.release.importers.roformer import bs_roformer_from_msst

pytestmark = pytest.mark.parity

SMALL: dict[str, Any] = {
    "dim": 32,
    "depth": 2,
    "stereo": True,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "dim_head": 16,
    "heads": 3,
    "stft_n_fft": 512,
    "stft_win_length": 512,
    "stft_hop_length": 110,
    "freqs_per_bands": (2,) * 8 + (4,) * 4 + (12, 12, 12, 48, 48, 93),
}


def small_pair(
    options: dict[str, Any], stems: list[str], target: str | None = None
) -> tuple[nn.Module, Any]:
    options = SMALL | options
    whole = yaml_of(options, stems, target)
    torch.manual_seed(0)
    reference = MsstBSRoformer(**whole["model"], flash_attn=False).eval()
    vary(reference)
    imported = bs_roformer_from_msst(whole, reference.state_dict())
    return reference, build(imported)


@pytest.mark.parametrize(
    ("options", "stems"),
    [
        ({}, STEMS),
        ({}, ["vocals"]),
        ({"stereo": False}, STEMS[:2]),
        ({"time_transformer_depth": 2, "freq_transformer_depth": 3}, STEMS[:2]),
        ({"mask_estimator_depth": 1}, STEMS[:2]),
        ({"mask_estimator_depth": 3, "mlp_expansion_factor": 1}, STEMS[:2]),
        ({"skip_connection": True, "depth": 4}, STEMS[:2]),
        ({"stft_normalized": True, "zero_dc": False}, STEMS[:2]),
        ({"stft_hop_length": 256, "dim": 24, "heads": 1}, STEMS[:2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("length", [300, 12_345])
def test_like_msst(options: dict[str, Any], stems: list[str], length: int) -> None:
    reference, ours = small_pair(options, stems)
    assert ours.spec.sources == tuple(stems)
    assert_parity(ours, reference, noise(ours.spec.channels, length))


def test_target_of_several_heads() -> None:
    """MSST takes one of its heads where a yaml names a target: so does the import."""
    whole = yaml_of(SMALL, STEMS)
    torch.manual_seed(0)
    reference = MsstBSRoformer(**whole["model"], flash_attn=False).eval()
    whole["training"]["target_instrument"] = "bass"
    ours = build(bs_roformer_from_msst(whole, reference.state_dict()))
    assert ours.spec.sources == ("bass",)
    assert_parity(ours, lambda mix: reference(mix, active_stem_ids=[1]), noise(2, 4000))


def test_public_size() -> None:
    """The public MUSDB18 setting, over more frames than one slice of tokens holds."""
    options = {
        "dim": 192,
        "depth": 6,
        "dim_head": 64,
        "heads": 8,
        "stft_n_fft": 2048,
        "stft_win_length": 2048,
        "stft_hop_length": 512,
        "freqs_per_bands": (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129),
    }
    reference, ours = small_pair(options, ["vocals", "other"], target="vocals")
    assert_parity(ours, reference, noise(2, 44_100)[:1])


def lucidrains_names(name: str) -> str:
    """Our name of a weight in bs-roformer, which wraps each layer to add its residual."""
    return re.sub(r"^(layers\.\d+\.\d+\.layers\.\d+\.\d+)\.", r"\1.branch.", name)


@torch.no_grad()
def without_value_residual(reference: nn.Module) -> None:
    """Let no layer see the first one's values: a mix of sigmoid(-100), zero in float32."""
    for name, parameter in reference.named_parameters():
        if "to_value_residual_mix" in name:
            parameter.fill_(-100.0 if name.endswith("bias") else 0.0)


@pytest.mark.parametrize("stems", [STEMS, STEMS[:1]], ids=len)
@pytest.mark.parametrize("depth", [1, 3])
def test_like_lucidrains(stems: list[str], depth: int) -> None:
    _, ours = small_pair({"depth": depth, "zero_dc": False}, stems)
    options = {name: value for name, value in SMALL.items() if name != "depth"}
    reference = bs_roformer.BSRoformer(
        **options,
        depth=depth,
        num_stems=len(stems),
        num_residual_streams=1,
        flash_attn=False,
    ).eval()
    weights = {lucidrains_names(name): value for name, value in ours.state_dict().items()}
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all("rotary" in name or "to_value_residual_mix" in name for name in missing)
    without_value_residual(reference)
    assert_parity(ours, reference, noise(2, 12_345))
