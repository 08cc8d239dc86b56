"""A model of some sources estimates what the whole model does, without the others' parts."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.separator import PickedSources, Separator
from mss.core.types import AudioSpec

MODELS = registry.names("model", plugins=False)
FOUR = AudioSpec(("drums", "bass", "other", "vocals"))
CHOICES = [("vocals",), ("vocals", "drums"), ("other", "vocals", "bass", "drums")]

APART: dict[str, dict[str, Any]] = {
    "openunmix": {"niter": 0},
    "d3net": {"niter": 0},
    "spleeter": {"exponent": None},
}
"""Options without which a model needs all of its sources for any of them."""

TOGETHER: dict[str, dict[str, Any]] = {
    "openunmix": {"niter": 1},
    "xumx": {"niter": 0},
    "bsrnn": {"spectrum": "log_magnitude", "niter": 1},
    "d3net": {"niter": 1},
    "spleeter": {"exponent": 2.0},
    "hdemucs": {"cac": False, "wiener_iters": 1, "end_iters": 1},
}
"""Options with which a model does need them all."""

VARIANTS: dict[str, dict[str, Any]] = {
    "softmask": {"name": "openunmix", "niter": 0, "softmask": True},
    "residual": {"name": "openunmix", "niter": 0, "residual": True},
    "real masks": {"name": "bsrnn", "spectrum": "log_magnitude", "residual": True},
    "magnitudes": {"name": "hdemucs", "cac": False},
    "phase alone": {"name": "hdemucs", "cac": False, "wiener_iters": -1, "end_iters": -1},
    "spectrogram alone": {"name": "hdemucs", "hybrid": False},
    "bands": {"name": "hdemucs", "multi_freqs": (0.25,), "multi_freqs_depth": 1},
    "norms to the end": {"name": "hdemucs", "norm_starts": 0},
    "norms to the end of htdemucs": {"name": "htdemucs", "norm_starts": 0},
    "norms to the end of demucs": {"name": "demucs", "norm_starts": 0},
}


def build(name: str, **options: Any) -> Separator:
    """Make a small model whose every parameter counts."""
    torch.manual_seed(0)
    tiny = registry.resolve("model", name).tiny(FOUR)
    model: Separator = type(tiny)(replace(tiny.config, **options), FOUR)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model


def noise(length: int = 3001) -> Tensor:
    return 0.1 * torch.randn(2, 2, length, generator=torch.Generator().manual_seed(length))


def assert_rows_equal(model: Separator, sources: tuple[str, ...]) -> None:
    """Compare a model of `sources` with the rows of the whole one."""
    rows = [FOUR.sources.index(source) for source in sources]
    mix = noise()
    with torch.inference_mode():
        whole = model.eval()(mix)
        kept_model = model.keep_sources(sources)
        kept = kept_model(mix)
    assert kept_model.spec == replace(FOUR, sources=sources)
    torch.testing.assert_close(kept.wave, whole.wave[:, rows], rtol=0, atol=1e-6)
    assert whole.wave.abs().max() > 1e-3, "a silent model shows nothing"
    assert (kept.spec is None) == (whole.spec is None)
    if kept.spec is not None:
        torch.testing.assert_close(kept.spec, whole.spec[:, rows], rtol=1e-5, atol=1e-5)


def flops(model: Separator) -> int:
    """Count what the network computes."""
    with torch.inference_mode():
        inputs = model.analyse(noise()).inputs
        with FlopCounterMode(display=False) as counter:
            model.network(*inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("sources", CHOICES, ids=len)
@pytest.mark.parametrize("name", MODELS)
def test_kept_rows_equal_the_whole_models(name: str, sources: tuple[str, ...]) -> None:
    assert_rows_equal(build(name), sources)


@pytest.mark.parametrize("name", APART)
def test_rows_of_independent_sources_equal_the_whole_models(name: str) -> None:
    assert_rows_equal(build(name, **APART[name]), ("vocals", "drums"))


@pytest.mark.parametrize("name", TOGETHER)
def test_sources_that_need_each_other_are_picked(name: str) -> None:
    model = build(name, **TOGETHER[name])
    assert isinstance(model.keep_sources(("vocals",)), PickedSources)
    assert_rows_equal(model, ("vocals", "drums"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_of_variants_equal_the_whole_models(variant: str) -> None:
    options = dict(VARIANTS[variant])
    assert_rows_equal(build(options.pop("name"), **options), ("vocals", "drums"))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "xumx"])
def test_what_only_other_sources_need_is_not_computed(name: str) -> None:
    model = build(name, **APART.get(name, {})).eval()
    kept = model.keep_sources(("bass",))
    assert not isinstance(kept, PickedSources)
    assert sum(p.numel() for p in kept.parameters()) < sum(p.numel() for p in model.parameters())
    assert flops(kept) < flops(model)


@pytest.mark.parametrize("name", ["openunmix", "bsrnn", "d3net", "spleeter"])
def test_networks_of_one_source_take_a_quarter_of_the_work(name: str) -> None:
    model = build(name, **APART.get(name, {})).eval()
    assert flops(model.keep_sources(("bass",))) == pytest.approx(flops(model) / 4, rel=1e-6)


@pytest.mark.parametrize("name", ["bs_roformer", "mel_roformer"])
def test_one_mask_estimator_is_called_for_one_source(name: str) -> None:
    model = build(name).eval()
    called: list[torch.nn.Module] = []
    kept = model.keep_sources(("other",))
    for every in (model, kept):
        for estimator in every.mask_estimators:  # type: ignore[union-attr]
            estimator.register_forward_hook(lambda module, *_: called.append(module))
    kept(noise())
    assert len(called) == 1


@pytest.mark.parametrize("name", MODELS)
def test_the_model_itself_is_left_as_it_is_and_its_weights_are_shared(name: str) -> None:
    model = build(name, **APART.get(name, {})).train()
    before = copy.deepcopy(model.state_dict())
    kept = model.keep_sources(("vocals",))
    assert not any(module.training for module in kept.modules())
    assert all(module.training for module in model.modules())
    assert model.spec == FOUR
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)
    own = {parameter.data_ptr() for parameter in model.parameters()}
    copied = [p for p in kept.parameters() if p.data_ptr() not in own]
    # of a last layer, whose rows are chosen: a small part of the model
    assert sum(p.numel() for p in copied) < 0.1 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_a_choice_can_be_narrowed(name: str) -> None:
    model = build(name).eval()
    twice = model.keep_sources(("vocals", "bass", "drums")).keep_sources(("bass",))
    once = model.keep_sources(("bass",))
    torch.testing.assert_close(twice(noise()).wave, once(noise()).wave, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda: ("vocal",), "no 'vocal'.*Did you mean 'vocals'"),
        (lambda: (), "at least one source"),
        (lambda: ("bass", "bass"), "twice"),
    ],
)
def test_names_are_checked(name: str, change: Callable[[], tuple[str, ...]], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        build(name).keep_sources(change())
