from dataclasses import replace
from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models import roformer
from mss.models.bs_roformer import BSRoformer, BSRoformerConfig

FOUR = AudioSpec(("drums", "bass", "other", "vocals"))
VOCALS = AudioSpec(("vocals",))


def small(spec: AudioSpec = FOUR, **changes: Any) -> BSRoformer:
    torch.manual_seed(0)
    return BSRoformer(replace(BSRoformer.tiny(spec).config, **changes), spec).eval()


def noise(length: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(batch, 2, length, generator=generator)


@pytest.mark.parametrize(
    ("changes", "spec", "parameters"),
    [
        # published: 132 M
        ({}, FOUR, 131_704_100),
        # published, less 64 rotary frequencies which the reference counts: 24.59 M, 159.76 M
        ({"dim": 192, "depth": 6, "mlp_expansion_factor": 4}, VOCALS, 24_591_340 - 64),
        ({"dim": 512, "depth": 12, "mlp_expansion_factor": 4}, VOCALS, 159_758_092 - 64),
    ],
)
def test_published_sizes(changes: dict[str, Any], spec: AudioSpec, parameters: int) -> None:
    with torch.device("meta"):
        model = BSRoformer(replace(BSRoformerConfig(), **changes), spec)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_published_names() -> None:
    names = set(small().state_dict())
    assert names >= {
        "band_split.to_features.0.0.gamma",
        "band_split.to_features.0.1.weight",
        "layers.0.0.layers.0.0.norm.gamma",
        "layers.0.1.layers.0.0.to_qkv.weight",
        "layers.1.1.layers.0.0.to_gates.bias",
        "layers.1.0.layers.0.0.to_out.0.weight",
        "layers.1.0.layers.0.1.net.0.gamma",
        "layers.1.0.layers.0.1.net.1.bias",
        "layers.1.0.layers.0.1.net.4.weight",
        "final_norm.gamma",
        "mask_estimators.3.to_freqs.0.0.0.weight",
        "mask_estimators.3.to_freqs.0.0.2.bias",
    }
    assert not any("share" in name or "window" in name or "freqs_per" in name for name in names)


def test_slices_of_tokens_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model, mix = small(skip_connection=True, depth=3), noise(5000, batch=2)
    with torch.enable_grad():
        whole = model(mix).wave.detach()
    for tokens in (1, 100, 10**6):
        monkeypatch.setattr(roformer, "_SLICE_TOKENS", tokens)
        with torch.no_grad():
            torch.testing.assert_close(model(mix).wave, whole, rtol=0, atol=1e-6)


def test_mask_of_one_and_zero_multiplies_the_mixture() -> None:
    model, mix = small(zero_dc=False), noise(4000)
    features = model.analyse(mix)
    shape = (1, 4, 2, 129, features.context["spec"].shape[-1], 2)
    mask = torch.zeros(shape)
    mask[:, 0, ..., 0] = 1
    mask[:, 1, ..., 1] = 1
    estimate = model.synthesise(features, (mask,))
    torch.testing.assert_close(estimate.wave[:, 0], mix, rtol=0, atol=1e-6)
    assert not estimate.wave[:, 2:].any()
    assert estimate.spec is not None
    torch.testing.assert_close(estimate.spec[:, 1], 1j * features.context["spec"])


def test_zero_dc_gives_nothing_at_0_hz() -> None:
    model, mix = small(), noise(4000) + 0.5
    spec = model(mix).spec
    assert spec is not None
    assert not spec[..., 0, :].any()
    assert spec[..., 1, :].abs().min() > 0
    kept = small(zero_dc=False)(mix).spec
    assert kept is not None
    assert kept[..., 0, :].abs().min() > 0


def test_each_band_has_its_own_weights_and_they_meet_in_the_transformers() -> None:
    model, mix = small(), noise(4000)
    (before,) = model.network(*model.analyse(mix).inputs)
    with torch.no_grad():
        model.mask_estimators[1].to_freqs[2][0][2].bias.add_(1)
    (after,) = model.network(*model.analyse(mix).inputs)
    changed = (before != after).any(dim=-1).any(dim=-1)[0]  # s c f
    start, stop = model.bands[2]
    assert changed.nonzero()[:, 0].unique().tolist() == [1]
    assert changed[1].any(dim=0).nonzero()[:, 0].tolist() == list(range(start, stop))
    with torch.no_grad():
        model.band_split.to_features[2][1].bias.add_(1)
    (mixed,) = model.network(*model.analyse(mix).inputs)
    assert (mixed != after).flatten(4).any(dim=-1).all()


def test_skip_connection_reaches_the_output() -> None:
    mix = noise(4000)
    assert not torch.allclose(small()(mix).wave, small(skip_connection=True)(mix).wave)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"dim": 0}, "dim"),
        ({"heads": -1}, "heads"),
        ({"dim_head": 7}, "dim_head"),
        ({"ff_dropout": 1.0}, "ff_dropout"),
        ({"mask_estimator_depth": 0}, "mask_estimator_depth"),
        ({"stft_hop_length": 129}, "stft_hop_length"),
        ({"stft_n_fft": 512}, "freqs_per_bands"),
        ({"freqs_per_bands": ()}, "freqs_per_bands"),
        ({"freqs_per_bands": (130, -1)}, "freqs_per_bands"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.{key}:"):
        small(**changes)
