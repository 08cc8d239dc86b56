"""One update: parts and formats change nothing but rounding, and the memory decides the parts."""

import copy

import pytest
import torch
from torch import nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Batch, Estimate, Target
from mss.losses.waveform import L1Loss, WaveformLossConfig
from mss.solver.errors import GradientError, TrainingError
from mss.solver.optim import Adam, OptimConfig
from mss.solver.precision import MAX_SKIPPED, Precision
from mss.solver.speed import AUTO, Speed
from mss.solver.update import NotFiniteLossError, Updater, normalise_over_ranks

SPEC = AudioSpec(("a", "b"), samplerate=100, channels=1)
CPU = torch.device("cpu")


class Filter(Separator):
    """A convolution a source. `fits`: items that the pretended memory holds."""

    Config = SeparatorConfig

    def __init__(self, fits: int = 99) -> None:
        super().__init__(SeparatorConfig(), SPEC)
        torch.manual_seed(0)
        self.conv = nn.Conv1d(1, 2, 5, padding=2)
        self.dropout = nn.Dropout(0.2)
        self.register_buffer("calls", torch.zeros(()))
        self.fits = fits
        self.seen: list[torch.dtype] = []

    def analyse(self, mix):
        return Features((mix,))

    def network(self, *inputs):
        (mix,) = inputs
        if mix.shape[0] > self.fits:
            raise torch.OutOfMemoryError("tried to allocate 3 GiB")
        self.calls += 1
        out = self.conv(mix)
        self.seen.append(out.dtype)
        return (out,)

    def synthesise(self, features, outputs):
        return Estimate(outputs[0][:, :, None])

    @classmethod
    def tiny(cls, spec):
        return cls()


def batch_of(items: int, labelled: torch.Tensor | None = None) -> tuple[Batch, Target]:
    generator = torch.Generator().manual_seed(1)
    stems = torch.randn(items, 2, 1, 64, generator=generator)
    weight = torch.ones(items, 2) if labelled is None else labelled
    return Batch(stems.sum(1), stems, SPEC.sources, weight), Target(stems, weight)


def updater_of(model: Filter, speed: Speed, precision: str = "float32", **optim) -> Updater:
    loss = L1Loss(WaveformLossConfig(weights={"b": 3.0}), SPEC.sources)
    adam = Adam(OptimConfig(lr=0.01, **optim), model.parameters())
    return Updater(model, loss, adam, Precision(precision, CPU), speed)


@pytest.mark.parametrize("parts", [2, 3, 7, 50])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(parts):
    """Also where the parts are of unequal size and know unequally much."""
    weight = torch.ones(7, 2)
    weight[0], weight[3, 1], weight[5, 0] = 0, 0, 0
    gradients, reports = [], []
    for count in (1, parts):
        model = Filter()
        reports.append(updater_of(model, Speed(count), clip_norm=1e-3)(*batch_of(7, weight)))
        gradients.append(model.conv.weight.grad.clone())
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-9)
    assert reports[1].norm == pytest.approx(reports[0].norm, rel=1e-5)
    assert reports[1].weights == pytest.approx(reports[0].weights)
    for name, value in reports[0].sums.items():
        assert reports[1].sums[name] == pytest.approx(value, rel=1e-5)
    assert reports[0].weights == {"loss": 5 + 3 * 5, "loss_a": 5, "loss_b": 5}


def test_a_source_of_which_nothing_is_known_weighs_nothing_in_the_report():
    weight = torch.ones(2, 2)
    weight[:, 1] = 0
    report = updater_of(Filter(), Speed())(*batch_of(2, weight))
    assert report.weights["loss_b"] == 0
    assert report.sums["loss_b"] == 0
    assert report.loss == pytest.approx(report.sums["loss_a"] / 2)


@pytest.mark.parametrize(("fits", "parts"), [(99, 1), (4, 2), (3, 4), (1, 8)])
def test_the_memory_decides_the_parts_and_the_trial_leaves_no_trace(fits, parts):
    torch.manual_seed(5)
    expected = torch.rand(1)
    model = Filter(fits)
    found = updater_of(model, Speed(AUTO))
    torch.manual_seed(5)
    report = found(*batch_of(8))
    assert found.parts == parts
    assert torch.equal(torch.rand(1), expected)
    assert model.calls == parts  # of the update, not of the trial
    other = Filter()
    assert report.norm == pytest.approx(updater_of(other, Speed())(*batch_of(8)).norm, rel=1e-5)
    assert torch.allclose(model.conv.weight, other.conv.weight, atol=1e-6)


def test_memory_that_holds_nothing_names_what_to_change():
    with pytest.raises(TrainingError, match=r"misc\.accumulate=2"):
        updater_of(Filter(fits=3), Speed())(*batch_of(4))
    with pytest.raises(TrainingError, match=r"not hold a single segment .*train\.segment"):
        updater_of(Filter(fits=0), Speed(AUTO))(*batch_of(4))
    with pytest.raises(ConfigError, match=r"misc\.accumulate: -1"):
        Speed(accumulate=-1)


def test_bf16_computes_the_network_alone_in_bf16():
    model = Filter()
    report = updater_of(model, Speed(), "bf16")(*batch_of(4))
    assert model.seen == [torch.bfloat16]
    assert model.conv.weight.dtype == model.conv.weight.grad.dtype == torch.float32
    exact = updater_of(Filter(), Speed())(*batch_of(4))
    assert report.loss != exact.loss
    assert report.loss == pytest.approx(exact.loss, rel=2e-2)  # 8 bits of mantissa


def test_a_compiled_network_trains_as_the_plain_one_and_keeps_its_names(monkeypatch):
    plain, compiled = Filter(), Filter()
    wrapped = []

    def compile_network(function, dynamic):
        assert dynamic is False  # a training has one shape
        wrapped.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_network)
    reports = [
        updater_of(model, Speed(compile=on))(*batch_of(4))
        for model, on in ((plain, False), (compiled, True))
    ]
    assert wrapped == [compiled.network]
    assert reports[0] == reports[1]
    assert list(plain.state_dict()) == list(compiled.state_dict())
    assert torch.equal(plain.conv.weight, compiled.conv.weight)


class Picture(Filter):
    """Its convolution has a second axis, so that its weights can be laid out channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 2, 3, padding=1)

    def network(self, *inputs):
        (mix,) = inputs
        image = mix.reshape(mix.shape[0], 1, 8, 8).expand(-1, 2, -1, -1)
        return (self.out(self.conv(image)).reshape(mix.shape[0], 2, 64),)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("layouts", [(False, True), (True, False), (True, True)])
def test_the_layout_of_the_weights_may_change_at_a_resume(fused, layouts):
    """A fused kernel walks through the memory of weights and moments side by side."""

    def run(one: bool, two: bool) -> list[torch.Tensor]:
        model = Picture()
        state, moments = None, None
        for last in (one, two):
            if state is not None:
                model = Picture()
                model.load_state_dict(state)
            if last:
                model.to(memory_format=torch.channels_last)
            adam = Adam(OptimConfig(lr=0.01), model.parameters(), fused=fused)
            assert adam.optimizer.defaults["fused"] is (True if fused else None)
            if moments is not None:
                adam.load_state_dict(moments)
            loss = L1Loss(WaveformLossConfig(), SPEC.sources)
            update = Updater(model, loss, adam, Precision("float32", CPU), Speed())
            for _ in range(3):
                update(*batch_of(4))
            state = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
            moments = copy.deepcopy(adam.state_dict())
        return list(state.values())

    for one, other in zip(run(*layouts), run(False, False), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_memory_that_ends_in_the_optimiser_s_step_is_told():
    model = Filter()
    made = updater_of(model, Speed())

    def step(closure=None):
        raise torch.OutOfMemoryError("tried to allocate 3 GiB")

    made.optim.optimizer.step = step
    with pytest.raises(TrainingError, match=r"does not hold this update .*smaller model"):
        made(*batch_of(2))


def test_the_parts_are_not_sought_where_ranks_would_wait_for_each_other():
    model = Filter()
    model.norm = nn.SyncBatchNorm(2)
    with pytest.raises(ConfigError, match=r"misc\.accumulate: 0 can't be found out"):
        updater_of(model, Speed(AUTO))(*batch_of(2))


def test_a_loss_that_is_not_finite_leaves_the_weights():
    model = Filter()
    before = model.conv.weight.clone()
    batch, target = batch_of(2)
    target.sources[0, 0, 0, 0] = float("nan")
    with pytest.raises(NotFiniteLossError):
        updater_of(model, Speed())(batch, target)
    assert torch.equal(model.conv.weight, before)


def test_fp16_leaves_an_overflowing_update_out_and_lowers_its_scale():
    precision = Precision("float32", CPU)
    precision.name = "fp16"
    precision._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    weight = nn.Parameter(torch.ones(2))
    adam = Adam(OptimConfig(lr=0.1), [weight])
    precision.backward((weight * 1e35).sum())  # times the scale: infinite in float32
    assert not torch.isfinite(precision.step(adam))
    assert torch.equal(weight.detach(), torch.ones(2))
    assert precision.state_dict()["scaler"]["scale"] == 2.0**15
    adam.zero_grad()
    precision.backward((weight * 2).sum())
    assert precision.step(adam).item() == pytest.approx(8**0.5)  # unscaled before it is measured
    assert weight[0] < 1

    again = Precision("float32", CPU)
    again.name = "fp16"
    again._scaler = torch.amp.GradScaler("cpu")
    again.load_state_dict(precision.state_dict())
    assert again._scaler.get_scale() == 2.0**15

    def overflow() -> None:
        adam.zero_grad()
        precision.backward((weight * float("nan")).sum())
        precision.step(adam)

    for _ in range(MAX_SKIPPED):
        overflow()
    with pytest.raises(GradientError, match="norm of the gradient is nan"):
        overflow()


def test_formats_that_do_not_go():
    with pytest.raises(ConfigError, match=r"train\.precision: fp16 needs a GPU"):
        Precision("fp16", CPU)
    with pytest.raises(ConfigError, match=r"train\.precision: 'fp8' is none of"):
        Precision("fp8", CPU)


def test_batch_normalisation_over_ranks(monkeypatch, caplog):
    class Normalised(Filter):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

    model = Normalised()
    assert normalise_over_ranks(model, 1) is model
    assert not caplog.records
    normalise_over_ranks(model, 4)
    assert "misc.accumulate, by each part" in caplog.text
    monkeypatch.setattr("mss.core.distrib.world_size", lambda: 2)
    caplog.clear()
    assert isinstance(normalise_over_ranks(model, 1).norm, nn.BatchNorm1d)
    assert "each of the 2 ranks by its own share" in caplog.text
    caplog.clear()
    normalise_over_ranks(Filter(), 4)
    assert not caplog.records
