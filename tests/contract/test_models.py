"""What every registered model promises, whichever it is."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import AudioSpec

MODELS = registry.names("model", plugins=False)
FOUR = AudioSpec(("drums", "bass", "other", "vocals"))
ONE = AudioSpec(("vocals",), samplerate=22050, channels=1)
SHAPES = pytest.mark.parametrize("spec", [FOUR, ONE], ids=["4 stereo", "1 mono"])

pytestmark = pytest.mark.parametrize("name", MODELS)


def build(name: str, spec: AudioSpec = FOUR) -> Separator:
    torch.manual_seed(0)
    model: Separator = registry.resolve("model", name).tiny(spec)
    return model


def noise(spec: AudioSpec, length: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(batch, spec.channels, length, generator=generator)


@SHAPES
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("length", [1, 2, 100, 1023, 3001])
def test_estimate_has_the_length_of_the_input(
    name: str, spec: AudioSpec, training: bool, length: int
) -> None:
    model = build(name, spec).train(training)
    estimate = model(noise(spec, length))
    assert estimate.wave.shape == (2, len(spec.sources), spec.channels, length)
    assert estimate.wave.dtype == torch.float32
    assert estimate.wave.isfinite().all()
    if estimate.spec is not None:
        assert estimate.stft is not None
        assert estimate.spec.shape[:3] == estimate.wave.shape[:3]
        # a spectral loss compares it with the references seen through the same transform
        assert estimate.spec.shape == estimate.stft(estimate.wave).shape


@SHAPES
def test_gradients_reach_every_parameter(name: str, spec: AudioSpec) -> None:
    model = build(name, spec).train()
    wave = model(noise(spec, 4000)).wave
    wave.square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


def test_items_of_a_batch_do_not_see_each_other(name: str) -> None:
    model = build(name).eval()
    mix = noise(FOUR, 3001, batch=3)
    mix[1] *= 100
    together = model(mix).wave
    for index in range(3):
        alone = model(mix[index : index + 1]).wave[0]
        torch.testing.assert_close(together[index], alone, rtol=1e-4, atol=1e-5 * mix[index].max())


@SHAPES
@pytest.mark.parametrize("training", [False, True])
def test_silence_is_finite(name: str, spec: AudioSpec, training: bool) -> None:
    model = build(name, spec).train(training)
    wave = model(torch.zeros(2, spec.channels, 3000)).wave
    assert wave.isfinite().all()
    wave.abs().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_evaluation_is_deterministic_and_leaves_the_model_as_it_is(name: str) -> None:
    model = build(name).eval()
    before = copy.deepcopy(model.state_dict())
    mix = noise(FOUR, 3001)
    given = mix.clone()
    assert torch.equal(model(mix).wave, model(mix).wave)
    assert torch.equal(mix, given), "the input was written to"
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_network_maps_real_tensors_to_real_tensors(name: str) -> None:
    model = build(name).eval()
    inputs = model.analyse(noise(FOUR, 3001)).inputs
    outputs = model.network(*inputs)
    assert all(not tensor.is_complex() for tensor in (*inputs, *outputs))


def test_bfloat16_autocast(name: str) -> None:
    model = build(name).eval()
    mix = noise(FOUR, 3001)
    with torch.no_grad():
        exact = model(mix).wave
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(mix).wave
    assert rough.dtype == torch.float32
    # bfloat16 has 8 bits; errors of a few percent are its own, a broken spectrum is not
    assert (rough - exact).norm() < 0.1 * exact.norm()


def test_trains_under_bfloat16_autocast(name: str) -> None:
    model = build(name).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(noise(FOUR, 3001)).wave.abs().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_safetensors_round_trip(name: str, tmp_path: Path) -> None:
    model = build(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # what was learnt is no initial value
            parameter.add_(0.01 * torch.randn_like(parameter))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(1)
    other = registry.resolve("model", name)(model.config, FOUR).eval()
    mix = noise(FOUR, 3001)
    assert not torch.equal(other(mix).wave, model(mix).wave)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert torch.equal(other(mix).wave, model(mix).wave)


def test_config_survives_a_release(name: str) -> None:
    model = build(name)
    plain = registry.dump_config(model.config)
    assert registry.make_config(type(model).Config, plain, "model") == model.config


def test_tiny_is_tiny(name: str) -> None:
    assert sum(p.numel() for p in build(name).parameters()) < 1_000_000


def test_numbers_that_can_be_no_option_are_refused(name: str) -> None:
    plain = registry.dump_config(build(name).config)
    wrong = [("segment", 0), ("segment", -1)]
    wrong += [(key, math.nan) for key, value in plain.items() if isinstance(value, float)]
    for key, value in wrong:
        with torch.device("meta"), pytest.raises(ConfigError, match=rf"^model\.{key}: "):
            registry.build("model", {**plain, "name": name, key: value}, FOUR)


def read_group(folder: Path, stem: str) -> dict[str, Any]:
    """Merge a yaml of a config group with those that its defaults list names, as Hydra does."""
    content = yaml.safe_load((folder / f"{stem}.yaml").read_text())
    merged: dict[str, Any] = {}
    for entry in content.pop("defaults", ["_self_"]):
        merged |= content if entry == "_self_" else read_group(folder, entry)
    return merged


def test_yaml_keys_are_the_config_fields_and_hold_its_defaults(name: str, repository: Path) -> None:
    config_class = registry.resolve("model", name).Config
    values = read_group(repository / "conf" / "model", name)
    assert values.pop("name") == name
    assert set(values) == set(registry.dump_config(config_class()))
    assert registry.make_config(config_class, values, "model") == config_class()


def test_presets_for_one_source_build_for_it(name: str, repository: Path) -> None:
    folder = repository / "conf" / "model"
    of_a_source = {
        path.stem: source for source in FOUR.sources for path in folder.glob(f"*_{source}.yaml")
    }
    assert {"d3net_bass", "bsrnn_drums", "bs_roformer_vocals"} <= set(of_a_source)
    for preset, source in of_a_source.items():
        values = read_group(folder, preset)
        if values["name"] == name:
            with torch.device("meta"):
                model = registry.build("model", values, AudioSpec((source,)))
            assert model.spec.sources == (source,)


def test_presets_build(name: str, repository: Path) -> None:
    folder = repository / "conf" / "model"
    presets = [path.stem for path in folder.glob("*.yaml")]
    for values in (read_group(folder, preset) for preset in presets):
        if values["name"] == name:
            with torch.device("meta"):
                model = registry.build("model", values, FOUR)
            assert model.segment > 0
