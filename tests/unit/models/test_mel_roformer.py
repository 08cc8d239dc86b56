from dataclasses import replace
from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.mel_roformer import MelRoformer, MelRoformerConfig

FOUR = AudioSpec(("drums", "bass", "other", "vocals"))
VOCALS = AudioSpec(("vocals",))


def small(spec: AudioSpec = FOUR, **changes: Any) -> MelRoformer:
    torch.manual_seed(0)
    return MelRoformer(replace(MelRoformer.tiny(spec).config, **changes), spec).eval()


def noise(length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(1, 2, length, generator=generator)


# Both less 64 rotary frequencies which the references count. Depth 6: published, 228.2 M; depth 12:
# frozen from the first version verified against msst 0.1.0.
@pytest.mark.parametrize(("depth", "parameters"), [(6, 228_202_852 - 64), (12, 251_869_636 - 64)])
def test_parameters_of_the_public_sizes(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        model = MelRoformer(MelRoformerConfig(depth=depth), VOCALS)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_published_names() -> None:
    names = set(small().state_dict())
    assert "layers.1.1.norm.gamma" in names  # each transformer normalises its output
    assert "final_norm.gamma" not in names
    assert "mask_estimators.3.to_freqs.7.0.2.weight" in names  # one layer more than it says
    assert not any("share" in name for name in names)


def test_mask_networks_of_overlapping_bands_are_averaged() -> None:
    model, mix = small(), noise(4000)
    (before,) = model.network(*model.analyse(mix).inputs)
    last = model.mask_estimators[2].to_freqs[3][0][2]
    half = last.bias.numel() // 2
    with torch.no_grad():
        # output = a * sigmoid(g): a wide open gate, and 1 added to what passes
        last.weight[half:] = 0
        last.bias[half:] = 100
    (opened,) = model.network(*model.analyse(mix).inputs)
    with torch.no_grad():
        last.bias[:half] += 1
    (after,) = model.network(*model.analyse(mix).inputs)
    start, stop = model.bands[3]
    neighbours = [model.bands[2], model.bands[4]]
    expected = torch.zeros_like(after)
    for index in range(start, stop):
        shared = any(low <= index < high for low, high in neighbours)
        expected[:, 2, :, index] = 0.5 if shared else 1.0
    torch.testing.assert_close(after - opened, expected, rtol=0, atol=1e-5)
    assert not torch.equal(before, opened)


def test_bands_follow_the_samplerate() -> None:
    low = AudioSpec(FOUR.sources, samplerate=22050)
    assert small(low).bands != small().bands
    assert small(low).bands[-1][1] == small().bands[-1][1] == 129


@pytest.mark.parametrize("count", [1, 60])
def test_bands_that_can_not_be_name_their_key(count: int) -> None:
    with pytest.raises(ConfigError, match=r"^model\.num_bands:"):
        small(num_bands=count)
