from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.hdemucs import HDemucs, HDemucsConfig

FOUR = AudioSpec(("drums", "bass", "other", "vocals"))
# the smallest that has every kind of level: over frequency, the merge, over time
SMALL = HDemucsConfig(channels=8, nfft=256, depth=4, norm_starts=2, dconv_lstm=3, dconv_attn=3)


def small(**changes: Any) -> HDemucs:
    torch.manual_seed(0)
    return HDemucs(replace(SMALL, **changes), FOUR).eval()


def noise(length: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, length, generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize(("channels", "count"), [(48, 83_637_832), (64, 148_599_192)])
def test_published_parameter_counts(channels: int, count: int) -> None:
    with torch.device("meta"):
        model = HDemucs(HDemucsConfig(channels=channels), FOUR)
    assert sum(p.numel() for p in model.parameters()) == count


def test_state_dict_speaks_the_published_names() -> None:
    with torch.device("meta"):
        names = set(HDemucs(HDemucsConfig(), FOUR).state_dict())
    for name in (
        "encoder.0.conv.weight",
        "encoder.5.dconv.layers.1.3.lstm.weight_ih_l1_reverse",
        "encoder.4.dconv.layers.0.4.query_decay.bias",
        "encoder.3.dconv.layers.0.6.scale",
        "tencoder.4.conv.bias",
        "decoder.0.norm2.weight",
        "decoder.5.conv_tr.weight",
        "tdecoder.0.conv_tr.weight",
        "tdecoder.1.rewrite.weight",
        "freq_emb.embedding.weight",
    ):
        assert name in names
    assert not any(name.startswith("stft") for name in names)


def test_inference_defaults_are_the_published_ones() -> None:
    inference = small().inference
    assert HDemucsConfig().segment == Fraction(40)
    assert (inference.segment, inference.overlap) == (Fraction(40), 0.25)
    assert (inference.window, inference.normalise) == ("triangle", "file_mono_std")


def test_louder_in_louder_out() -> None:
    # normalisation inside the model: only its floor of 1e-5 knows how loud the mixture is
    model, mix = small(), noise(5000)
    torch.testing.assert_close(model(mix * 8).wave, model(mix).wave * 8, rtol=1e-2, atol=1e-3)


def test_branches_can_be_told_apart() -> None:
    model, mix = small(), noise(3000)
    features = model.analyse(mix)
    spec, wave = model.network(*features.inputs)
    assert spec.shape == (1, 4 * 2 * 2, 128, 47)
    assert wave.shape == (1, 4 * 2, 3000)
    both = model.synthesise(features, (spec, wave)).wave
    silent_spec = model.synthesise(
        features, (-(features.context["shift"] / features.context["scale"]).expand_as(spec), wave)
    ).wave
    scale, shift = features.context["wave_scale"], features.context["wave_shift"]
    expected = (wave * scale + shift).view(1, 4, 2, 3000)
    torch.testing.assert_close(silent_spec, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(both, expected, atol=1e-3)


def test_the_mixture_passes_through_complex_as_channels() -> None:
    model, mix = small(), noise(3000)
    features = model.analyse(mix)
    outputs = tuple(x.repeat(1, 4, *[1] * (x.dim() - 2)) for x in features.inputs)
    wave = model.synthesise(features, outputs).wave
    # each branch gives the mixture back, but for the Nyquist bin and the floor of the deviation
    lowpassed = model.stft.inverse(model.stft(mix), 3000)
    for source in range(4):
        torch.testing.assert_close(wave[:, source], mix + lowpassed, rtol=0, atol=5e-4)


def test_wiener_iterations_follow_the_mode() -> None:
    mix = noise(3000)
    model = small(hybrid=False, cac=False, wiener_iters=1, end_iters=0)
    features = model.analyse(mix)
    outputs = model.network(*features.inputs)
    evaluated = model.synthesise(features, outputs).wave
    trained = model.train().synthesise(features, outputs).wave
    assert not torch.allclose(evaluated, trained, rtol=1e-3)


def test_a_pure_spectrogram_model_shows_its_spectra() -> None:
    estimate = small(hybrid=False)(noise(3000))
    assert estimate.stft is not None
    back = estimate.stft.inverse(estimate.spec, 3000)
    torch.testing.assert_close(back, estimate.wave)


def test_channels_of_the_branches_may_differ() -> None:
    model = small(channels_time=16)
    assert model.tencoder[0].conv.out_channels == 16
    assert model.encoder[0].conv.out_channels == 8
    # where they meet, the wider one decides
    assert model.encoder[2].conv.out_channels == model.tencoder[2].conv.out_channels == 64
    assert model(noise(1000)).wave.shape == (1, 4, 2, 1000)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"nfft": 2048, "depth": 5}, "nfft"),
        ({"nfft": 100}, "nfft"),
        ({"nfft": 4096 + 64}, "nfft"),
        ({"depth": 2}, "depth"),
        ({"depth": 0}, "depth"),
        ({"kernel_size": 6}, "kernel_size"),
        ({"stride": 3, "kernel_size": 6}, "stride"),
        ({"time_stride": 1}, "time_stride"),
        ({"norm_groups": 5}, "norm_groups"),
        ({"dconv_comp": 100.0}, "dconv_comp"),
        ({"dconv_comp": 0.0}, "dconv_comp"),
        ({"context": -1}, "context:"),
        ({"context_enc": -1}, "context_enc"),
        ({"channels": 12, "dconv_comp": 5.0, "dconv_attn": 0}, "dconv_comp"),
        ({"hybrid": False, "hybrid_old": True}, "hybrid_old"),
        ({"cac": False, "wiener_iters": 1}, "end_iters"),
        ({"multi_freqs": (0.5, 0.2)}, "multi_freqs"),
        ({"multi_freqs": (0.5,), "multi_freqs_depth": 3}, "multi_freqs_depth"),
        ({"multi_freqs": (0.5,), "multi_freqs_depth": 3, "norm_starts": 4}, "multi_freqs_depth"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        small(**changes)
