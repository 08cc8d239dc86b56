"""MelBand-RoFormer against two implementations with the same weights: MSST's, whose checkpoints are
imported, and lucidrains' bs-roformer, whose later features are turned off."""

import re
from typing import Any

import bs_roformer
import librosa
import pytest
import torch
from msst.models.bs_roformer import MelBandRoformer as MsstMelBandRoformer
from roformer_pairs import STEMS, assert_parity, build, noise, vary, yaml_of
from torch import nn

from mss.nn.mel_bands import mel_bands
from mss.release.importers.roformer import mel_roformer_from_msst

pytestmark = pytest.mark.parity

SMALL: dict[str, Any] = {
    "dim": 32,
    "depth": 2,
    "stereo": True,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "num_bands": 20,
    "dim_head": 16,
    "heads": 3,
    "stft_n_fft": 512,
    "stft_win_length": 512,
    "stft_hop_length": 110,
}


def small_pair(
    options: dict[str, Any], stems: list[str], target: str | None = None
) -> tuple[nn.Module, Any]:
    whole = yaml_of(SMALL | options, stems, target)
    torch.manual_seed(0)
    reference = MsstMelBandRoformer(
        **whole["model"], flash_attn=False, match_input_audio_length=True
    ).eval()
    vary(reference)
    imported = mel_roformer_from_msst(whole, reference.state_dict())
    return reference, build(imported)


@pytest.mark.parametrize(
    ("options", "stems"),
    [
        ({}, STEMS),
        ({}, ["vocals"]),
        ({"stereo": False}, STEMS[:2]),
        ({"time_transformer_depth": 2, "freq_transformer_depth": 3}, STEMS[:2]),
        ({"mask_estimator_depth": 2, "mlp_expansion_factor": 1}, STEMS[:2]),
        ({"skip_connection": True, "depth": 4}, STEMS[:2]),
        ({"stft_normalized": True, "zero_dc": False, "num_bands": 7}, STEMS[:2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("length", [300, 12_345])
def test_like_msst(options: dict[str, Any], stems: list[str], length: int) -> None:
    reference, ours = small_pair(options, stems)
    assert_parity(ours, reference, noise(ours.spec.channels, length))


def test_public_bands() -> None:
    """60 bands of a 2048-sample window, a narrow network."""
    options = {
        "dim": 48,
        "num_bands": 60,
        "mask_estimator_depth": 2,
        "stft_n_fft": 2048,
        "stft_win_length": 2048,
        "stft_hop_length": 441,
    }
    reference, ours = small_pair(options, ["vocals", "other"], target="vocals")
    assert_parity(ours, reference, noise(2, 44_100))


@pytest.mark.parametrize("stems", [STEMS, STEMS[:1]], ids=len)
def test_like_lucidrains(stems: list[str]) -> None:
    _, ours = small_pair({"zero_dc": False}, stems)
    reference = bs_roformer.MelBandRoformer(
        **SMALL,
        num_stems=len(stems),
        linear_transformer_depth=0,
        add_value_residual=False,
        num_residual_streams=1,
        flash_attn=False,
        match_input_audio_length=True,
    ).eval()
    weights = {
        # the reference wraps each layer to add its residual; its blocks begin with a place for a
        # linear transformer
        re.sub(
            r"^layers\.(\d+)\.(\d+)\.(layers\.\d+\.\d+\.)?",
            lambda m: f"layers.{m[1]}.{int(m[2]) + 1}." + (f"{m[3]}branch." if m[3] else ""),
            name,
        ): value
        for name, value in ours.state_dict().items()
    }
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all("rotary" in name for name in missing)
    assert_parity(ours, reference, noise(2, 12_345))


@pytest.mark.parametrize(
    ("samplerate", "n_fft", "count"),
    [(44100, 2048, 60), (44100, 4096, 60), (48000, 2048, 64), (22050, 512, 20), (44100, 256, 8)],
)
def test_bins_where_librosas_filters_are_positive(samplerate: int, n_fft: int, count: int) -> None:
    positive = librosa.filters.mel(sr=samplerate, n_fft=n_fft, n_mels=count) > 0
    # at the ends of the scale the triangles are zero, up to rounding
    positive[0, 0] = positive[-1, -1] = True
    bands = mel_bands(samplerate, n_fft, count)
    for row, (start, stop) in zip(positive, bands, strict=True):
        assert row.nonzero()[0].tolist() == list(range(start, stop))
