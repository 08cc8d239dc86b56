"""What every registered loss promises to the solver, whichever it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mss.compose import compose_config
from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.stft import Stft
from mss.core.types import Estimate, Target
from mss.losses.base import SourceLoss

LOSSES = registry.names("loss", plugins=False)
SOURCES = ("drums", "bass", "vocals")
MakeExample = Callable[..., tuple[Estimate, Target]]

pytestmark = [
    pytest.mark.parametrize("name", LOSSES),
    pytest.mark.usefixtures("torchaudio_stub"),
]


def read_yaml(repository: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((repository / f"conf/loss/{name}.yaml").read_text())
    return values


@pytest.fixture
def build(repository: Path, name: str) -> Callable[..., SourceLoss]:
    """Return the function that builds the loss as its yaml says."""

    def make(sources: tuple[str, ...] = SOURCES, **changes: Any) -> SourceLoss:
        loss: SourceLoss = registry.build("loss", read_yaml(repository, name) | changes, sources)
        return loss

    return make


def partly_known(target: Target) -> Target:
    weight = torch.ones_like(target.weight)
    weight[0] = 0  # nothing of the first item
    weight[1, 0] = weight[2, 2] = 0
    weight[3, 1] = 0.25
    return replace(target, weight=weight)


def test_yaml_keys_are_the_config_fields(name: str, repository: Path) -> None:
    config_class = registry.resolve("loss", name).Config
    values = read_yaml(repository, name)
    assert values.pop("name") == name
    assert set(values) == set(registry.dump_config(config_class()))
    assert registry.make_config(config_class, values, "loss") == config_class()


def test_the_command_line_builds_it(name: str) -> None:
    cfg = compose_config([f"loss={name}", "+loss.weights.vocals=2"])
    loss = registry.build("loss", cfg.loss, SOURCES)
    assert loss.weight(Target(torch.zeros(1, 3, 1, 1), torch.ones(1, 3))).item() == 4


def test_a_better_estimate_costs_less(build: Any, make_example: MakeExample) -> None:
    loss = build()
    estimate, target = make_example()
    closer = Estimate(0.5 * (estimate.wave + target.sources))
    bad, good = loss(estimate, target).total, loss(closer, target).total
    perfect = loss(Estimate(target.sources.clone()), target).total
    assert perfect < good < bad


def test_a_step_down_the_gradient_improves(build: Any, make_example: MakeExample) -> None:
    """In every known source, and in no other."""
    loss = build()
    estimate, target = make_example()
    target = partly_known(target)
    estimate.wave.requires_grad_()
    report = loss(estimate, target)
    report.total.backward()
    gradient = estimate.wave.grad
    assert gradient is not None and gradient.isfinite().all()
    reached = gradient.abs().amax(dim=(2, 3)) > 0
    if loss.compares_items:
        assert not reached[target.weight == 0].any()
        assert reached.any(dim=0).all()
    else:
        assert torch.equal(reached, target.weight > 0)
    step = 0.05 / gradient.norm()  # of the wave, whose norm is about 13
    with torch.no_grad():
        after = loss(Estimate(estimate.wave - step * gradient), target).total
        before = loss(Estimate(estimate.wave.detach()), target).total
    if not loss.compares_items:  # without gradients nothing is left out
        assert after < before


def test_parts_of_a_batch_sum_to_the_whole(build: Any, make_example: MakeExample) -> None:
    """The totals and the log's parts, by the weights that the loss gives."""
    loss = build()
    estimate, target = make_example()
    target = partly_known(target)
    whole = loss(estimate, target)
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for item in range(4):
        own = slice(item, item + 1)
        assert target.mix is not None
        part = Target(target.sources[own], target.weight[own], target.mix[own])
        report, weight = loss(Estimate(estimate.wave[own]), part), loss.weight(part).item()
        for key, value in {"total": report.total, **report.parts}.items():
            known = report.part_weights.get(key, weight)
            sums[key] = sums.get(key, 0) + (known * value.item() if known else 0)
            weights[key] = weights.get(key, 0) + known
    assert weights["total"] == pytest.approx(loss.weight(target).item())
    for key, value in {"total": whole.total, **whole.parts}.items():
        # float32 sums, of terms of both signs
        assert sums[key] / weights[key] == pytest.approx(value.item(), rel=1e-4, abs=1e-4), key


def test_source_weights(build: Any, make_example: MakeExample) -> None:
    estimate, target = make_example()
    plain = build()(estimate, target)
    weighted = build(weights={"vocals": 3.0, "bass": 0.0})(estimate, target)
    parts = [plain.parts[source].item() for source in SOURCES]
    assert [weighted.parts[source].item() for source in SOURCES] == pytest.approx(parts)
    assert weighted.total.item() == pytest.approx((parts[0] + 3 * parts[2]) / 4, rel=1e-5, abs=1e-5)
    assert plain.total.item() == pytest.approx(sum(parts) / 3, rel=1e-5, abs=1e-5)


def test_nothing_known_is_zero_without_gradient(build: Any, make_example: MakeExample) -> None:
    estimate, target = make_example()
    estimate.wave.requires_grad_()
    report = build()(estimate, replace(target, weight=torch.zeros(4, 3)))
    report.total.backward()
    assert report.total.item() == 0
    assert estimate.wave.grad is not None and not estimate.wave.grad.any()


@pytest.mark.parametrize("silent", ["estimate", "target", "both", "all"])
def test_silence_is_finite_with_a_finite_gradient(
    build: Any, make_example: MakeExample, silent: str
) -> None:
    estimate, target = make_example()
    if silent != "target":
        estimate.wave[:, 1] = 0
    if silent != "estimate":
        target.sources[:, 1] = 0
    if silent == "all":
        estimate, target = (
            Estimate(estimate.wave * 0),
            Target(target.sources * 0, target.weight, target.sources[:, 0] * 0),
        )
    estimate.wave.requires_grad_()
    report = build()(estimate, target)
    report.total.backward()
    assert report.total.isfinite()
    assert all(part.isfinite() for part in report.parts.values())
    assert estimate.wave.grad is not None and estimate.wave.grad.isfinite().all()


def test_faults_show_through_zero_weights(build: Any, make_example: MakeExample) -> None:
    estimate, target = make_example()
    target = partly_known(target)
    estimate.wave[0, 0, 0, 5] = torch.nan  # its weight is 0
    estimate.wave.requires_grad_()
    assert not build()(estimate, target).total.isfinite()


def test_half_precision_is_compared_in_float32(build: Any, make_example: MakeExample) -> None:
    estimate, target = make_example()
    rough = estimate.wave.bfloat16()
    report = build()(Estimate(rough), target)
    assert report.total.dtype == torch.float32
    assert torch.equal(report.total, build()(Estimate(rough.float()), target).total)


@pytest.mark.parametrize(("sources", "channels", "length"), [(1, 1, 1), (1, 2, 100), (2, 1, 1)])
def test_few_sources_mono_and_short(
    build: Any, make_example: MakeExample, sources: int, channels: int, length: int
) -> None:
    estimate, target = make_example(2, sources, channels, length)
    estimate.wave.requires_grad_()
    report = build(SOURCES[:sources])(estimate, target)
    report.total.backward()
    assert report.total.isfinite()
    assert estimate.wave.grad is not None and estimate.wave.grad.isfinite().all()


def test_a_models_spectra(build: Any, make_example: MakeExample) -> None:
    """A model may give its spectra and how they are made."""
    estimate, target = make_example()
    stft = Stft(512, 128, normalized=True)
    report = build()(Estimate(estimate.wave, stft(estimate.wave), stft), target)
    assert report.total.isfinite()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"vocal": 1.0}, r"loss\.weights\.vocal: .*'vocals'"),
        ({"vocals": -1.0}, r"loss\.weights\.vocals: -1\.0"),
        (dict.fromkeys(SOURCES, 0.0), "every source has weight 0"),
    ],
)
def test_wrong_weights(build: Any, weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(weights=weights)
