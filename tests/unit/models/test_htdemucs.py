from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.htdemucs import HTDemucs, HTDemucsConfig

FOUR = AudioSpec(("drums", "bass", "other", "vocals"))
SIX = AudioSpec((*FOUR.sources, "guitar", "piano"))
SMALL = HTDemucsConfig(
    segment=Fraction(1, 10),
    channels=8,
    nfft=512,
    depth=3,
    dconv_comp=2,
    bottom_channels=16,
    t_layers=2,
    t_heads=2,
)


def small(**changes: Any) -> HTDemucs:
    torch.manual_seed(0)
    return HTDemucs(replace(SMALL, **changes), FOUR).eval()


def noise(length: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, length, generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize(
    ("spec", "bottom", "count"), [(FOUR, 512, 41_984_456), (SIX, 0, 27_414_996)]
)
def test_released_parameter_counts(spec: AudioSpec, bottom: int, count: int) -> None:
    with torch.device("meta"):
        model = HTDemucs(HTDemucsConfig(bottom_channels=bottom), spec)
    assert sum(p.numel() for p in model.parameters()) == count


def test_state_dict_speaks_the_published_names() -> None:
    with torch.device("meta"):
        names = set(HTDemucs(HTDemucsConfig(), FOUR).state_dict())
    for name in (
        "encoder.0.conv.weight",
        "decoder.3.dconv.layers.1.6.scale",
        "tencoder.3.rewrite.bias",
        "tdecoder.0.conv_tr.weight",
        "freq_emb.embedding.weight",
        "channel_upsampler.weight",
        "channel_downsampler_t.bias",
        "crosstransformer.norm_in_t.weight",
        "crosstransformer.layers.0.self_attn.in_proj_weight",
        "crosstransformer.layers_t.1.cross_attn.out_proj.bias",
        "crosstransformer.layers.1.norm3.weight",
        "crosstransformer.layers.4.linear2.weight",
        "crosstransformer.layers.4.norm_out.bias",
        "crosstransformer.layers_t.2.gamma_1.scale",
    ):
        assert name in names
    assert not any(name.startswith("stft") for name in names)


def test_inference_defaults_are_the_published_ones() -> None:
    with torch.device("meta"):
        inference = HTDemucs(HTDemucsConfig(), FOUR).inference
        any_length = HTDemucs(HTDemucsConfig(use_train_segment=False), FOUR).inference
    assert (inference.segment, inference.overlap) == (Fraction(39, 5), 0.25)
    assert (inference.window, inference.normalise) == ("triangle", "file_mono_std")
    assert (inference.tail, any_length.tail) == ("centred", "short")


def test_a_short_input_is_the_start_of_a_whole_segment() -> None:
    model, mix = small(), noise(3000)
    padded = torch.nn.functional.pad(mix, (0, 4410 - 3000))
    torch.testing.assert_close(model(mix).wave, model(padded).wave[..., :3000], rtol=0, atol=0)
    # without it, the transformer sees fewer steps, and the padding is not part of the statistics
    free = small(use_train_segment=False)
    assert not torch.allclose(free(mix).wave, model(mix).wave, atol=1e-4)


def test_training_and_long_inputs_run_at_their_own_length() -> None:
    model, free = small(t_dropout=0.0), small(t_dropout=0.0, use_train_segment=False)
    torch.testing.assert_close(model(noise(5000)).wave, free(noise(5000)).wave, rtol=0, atol=0)
    model.train()
    free.train()
    assert model.analyse(noise(3000)).inputs[1].shape[-1] == 3000
    torch.testing.assert_close(model(noise(3000)).wave, free(noise(3000)).wave, rtol=0, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_only_attention_brings_the_end_to_the_start(gamma: float) -> None:
    # convolutions of three levels reach about a hundred samples, attention reaches everything
    model = small(dconv_mode=0, t_norm_out=False).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gamma" in name:
                parameter.fill_(gamma)
    spec, wave = model.analyse(noise(8000).double()).inputs
    louder = wave.clone()
    louder[..., -100:] *= 3
    before, after = model.network(spec, wave), model.network(spec, louder)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[..., :2], other[..., :2]) is (gamma == 0)


def test_norms_are_only_where_they_start() -> None:
    kinds = [type(layer.norm1).__name__ for layer in small(norm_starts=1).encoder]
    assert kinds == ["Identity", "GroupNorm", "GroupNorm"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"depth": 4}, "depth"),  # leaves one bin
        ({"nfft": 100}, "nfft"),
        ({"kernel_size": 6}, "kernel_size"),
        ({"norm_groups": 3, "norm_starts": 0}, "norm_groups"),
        ({"dconv_comp": 100.0}, "dconv_comp"),
        ({"t_heads": 3}, "t_heads"),
        ({"t_heads": 0}, "t_heads"),
        ({"t_layers": 0}, "t_layers"),
        ({"bottom_channels": -1}, "bottom_channels"),
        ({"t_dropout": 1.0}, "t_dropout"),
        ({"t_hidden_scale": 0.01}, "t_hidden_scale"),
        ({"t_max_period": 0.0}, "t_max_period"),
        ({"t_sin_random_shift": -1}, "t_sin_random_shift"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        small(**changes)
