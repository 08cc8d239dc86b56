from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.openunmix import OpenUnmix, OpenUnmixConfig
from mss.models.xumx import XUMX, XUMXConfig

FOUR = AudioSpec(("vocals", "drums", "bass", "other"))
SMALL = XUMXConfig(hidden_size=16, nfft=512, nhop=128)


def small(spec: AudioSpec = FOUR, **changes: Any) -> XUMX:
    torch.manual_seed(0)
    return XUMX(replace(SMALL, **changes), spec).eval()


def magnitudes(seed: int = 0) -> Tensor:
    return torch.rand(1, 2, 257, 10, generator=torch.Generator().manual_seed(seed))


def test_published_size() -> None:
    with torch.device("meta"):
        model = XUMX(XUMXConfig(), FOUR)
    assert sum(p.numel() for p in model.parameters()) == 35_573_392


@torch.no_grad()
def test_every_network_reaches_every_source() -> None:
    model = small()
    (before,) = model.network(magnitudes())
    for parameter in (model.targets[1].fc1.weight, model.targets[1].lstm.weight_ih_l0):
        saved = parameter.clone()
        parameter.add_(0.1)
        (after,) = model.network(magnitudes())
        parameter.copy_(saved)
        changed = (after != before).flatten(2).any(dim=2)[0]
        assert changed.tolist() == [True] * 4
    model.targets[1].fc2.weight.add_(0.1)  # beyond the second average
    (after,) = model.network(magnitudes())
    changed = (after != before).flatten(2).any(dim=2)[0]
    assert changed.tolist() == [False, True, False, False]


@torch.no_grad()
def test_averages_are_those_of_the_paper() -> None:
    model = small()
    frames = torch.rand(2, 7, 2 * model.bins_in)  # b n (c f)
    encoded = sum(target.encode(frames) for target in model.targets) / 4
    joined = sum(
        torch.cat([target.encode(frames), target.recur(encoded)], dim=-1)
        for target in model.targets
    )
    for target, mask in zip(model.targets, model.masks(frames), strict=True):
        torch.testing.assert_close(mask, target.decode(joined / 4))


@torch.no_grad()
def test_one_source_is_open_unmix() -> None:
    vocals = AudioSpec(("vocals",))
    model = small(vocals, residual=True)
    plain = OpenUnmix(OpenUnmixConfig(**vars(model.config)), vocals).eval()
    plain.load_state_dict(model.state_dict(), strict=True)
    mix = 0.1 * torch.randn(1, 2, 4000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(mix).wave, plain(mix).wave)


def test_options_are_checked_as_for_open_unmix() -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden_size"):
        small(hidden_size=15)
    with pytest.raises(ConfigError, match=r"model\.niter.*residual=true"):
        small(AudioSpec(("vocals",)))
