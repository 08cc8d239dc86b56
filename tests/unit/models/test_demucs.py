from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.demucs import Demucs, DemucsConfig

FOUR = AudioSpec(("drums", "bass", "other", "vocals"))
SMALL = DemucsConfig(
    channels=8, depth=3, norm_starts=2, dconv_comp=2, dconv_lstm=2, dconv_attn=2, norm_groups=2
)
V2 = DemucsConfig(lstm_layers=2, normalize=False, gelu=False, norm_starts=6, dconv_mode=0)


def small(**changes: Any) -> Demucs:
    torch.manual_seed(0)
    return Demucs(replace(SMALL, **changes), FOUR).eval()


def noise(length: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, length, generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize(("config", "count"), [(DemucsConfig(), 133_753_064), (V2, 265_679_496)])
def test_published_parameter_counts(config: DemucsConfig, count: int) -> None:
    with torch.device("meta"):
        model = Demucs(config, FOUR)
    assert sum(p.numel() for p in model.parameters()) == count


def test_state_dict_speaks_the_published_names() -> None:
    with torch.device("meta"):
        names = set(Demucs(DemucsConfig(), FOUR).state_dict())
        old = set(Demucs(V2, FOUR).state_dict())
    for name in (
        "encoder.0.0.weight",
        "encoder.0.3.layers.1.3.weight",
        "encoder.5.3.layers.0.3.lstm.weight_hh_l1_reverse",
        "encoder.4.3.layers.0.4.query_decay.bias",
        "encoder.5.4.weight",
        "encoder.5.5.bias",
        "decoder.0.1.weight",
        "decoder.0.3.weight",
        "decoder.0.4.weight",
        "decoder.5.3.bias",
    ):
        assert name in names
    assert {"lstm.lstm.weight_ih_l1", "lstm.linear.bias", "encoder.5.3.weight"} < old
    assert not any("kernel" in name for name in names)  # of the resampling


def test_inference_defaults_are_the_published_ones() -> None:
    inference = small().inference
    assert (inference.segment, inference.overlap) == (Fraction(40), 0.25)
    assert (inference.window, inference.normalise) == ("triangle", "file_mono_std")


@pytest.mark.parametrize("resample", [False, True])
def test_inputs_are_padded_just_as_far_as_every_convolution_fits(resample: bool) -> None:
    model = small(resample=resample, depth=2)
    rate = 2 if resample else 1

    def fits(samples: int) -> bool:
        steps = samples * rate
        for _ in range(2):
            if steps < 8 or (steps - 8) % 4:
                return False
            steps = (steps - 8) // 4 + 1
        return True

    for length in (1, 35, 36, 37, 100, 1001):
        expected = next(n for n in range(length, 2000) if fits(n))
        assert model.padded_length(length) == expected


def test_louder_in_louder_out() -> None:
    model, mix = small(), noise(5000)
    torch.testing.assert_close(model(mix * 8).wave, model(mix).wave * 8, rtol=1e-2, atol=1e-3)
    free = small(normalize=False)
    assert not torch.allclose(free(mix * 8).wave, free(mix).wave * 8, rtol=1e-2, atol=1e-3)


def test_an_offset_of_the_input_is_normalised_away_and_comes_back() -> None:
    model, mix = small(), noise(5000)
    torch.testing.assert_close(model(mix + 1).wave, model(mix).wave + 1, rtol=0, atol=1e-4)


@pytest.mark.parametrize("length", [4001, 4002])
def test_what_comes_out_lies_where_it_came_in(length: int) -> None:
    model = small()
    time = torch.arange(float(length))
    mix = torch.stack([(time / 7).sin(), (time / 9).cos()])[None]  # slow: resampling keeps it
    features = model.analyse(mix)
    wave = model.synthesise(features, (features.inputs[0].repeat(1, 4, 1),)).wave
    for source in range(4):
        inside = slice(100, -100)
        error = (wave[0, source, :, inside] - mix[0, :, inside]).abs().max()
        assert error < 1e-3  # a shift by half a sample would be 0.05


def test_works_at_twice_the_sample_rate() -> None:
    assert small().analyse(noise(1000)).inputs[0].shape[-1] == 2 * small().padded_length(1000)
    model = small(resample=False)
    assert model.analyse(noise(1000)).inputs[0].shape[-1] == model.padded_length(1000)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"depth": 0}, "depth"),
        ({"stride": 0}, "stride"),
        ({"kernel_size": 3}, "kernel_size"),
        ({"context": -1}, "context"),
        ({"lstm_layers": -1}, "lstm_layers"),
        ({"norm_groups": 3}, "norm_groups"),
        ({"channels": 9, "dconv_mode": 0, "norm_starts": 1}, "norm_groups"),
        ({"dconv_comp": 100.0}, "dconv_comp"),
        ({"dconv_comp": 0.0}, "dconv_comp"),
        ({"channels": 10, "dconv_comp": 4.0, "norm_starts": 9}, "dconv_comp"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        small(**changes)
