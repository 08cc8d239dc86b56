from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from mss.core.errors import DataError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate, InferenceDefaults
from mss.infer.separate import evaluating, model_chunk_fn, separate

SPEC = AudioSpec(("vocals", "other"), samplerate=1000, channels=2)


class Halves(Separator):
    """Gives a learnt share of the mix to each source; its dropout makes a wrong mode visible."""

    Config = SeparatorConfig

    def __init__(self, config: SeparatorConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.shares = nn.Parameter(torch.linspace(0.2, 0.8, len(spec.sources)))
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5)

    def analyse(self, mix: Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.frozen(self.dropout(inputs[0][:, None] * self.shares[:, None, None])),)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        return Estimate(outputs[0])

    @classmethod
    def tiny(cls, spec: AudioSpec) -> Halves:
        return cls(SeparatorConfig(segment=Fraction(1, 10)), spec)


@pytest.fixture
def model() -> Halves:
    return Halves.tiny(SPEC)


def test_model_runs_in_eval_mode_and_keeps_its_mode(model: Halves) -> None:
    model.train()
    model.frozen.eval()
    chunks = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(0))
    out = model_chunk_fn(model)(chunks)
    torch.testing.assert_close(out, chunks[:, None] * model.shares.detach()[:, None, None])
    assert model.training
    assert model.dropout.training
    assert not model.frozen.training


def test_mode_is_restored_after_an_error(model: Halves) -> None:
    model.train()
    modes: list[bool] = []

    def fail() -> None:
        with evaluating(model):
            modes.append(model.dropout.training)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert modes == [False]
    assert model.training
    assert model.dropout.training


def test_result_has_no_graph_and_may_take_part_in_a_loss(model: Halves) -> None:
    mix = torch.randn(1, 2, 40, generator=torch.Generator().manual_seed(0))
    teacher = model_chunk_fn(model)(mix)
    assert not teacher.requires_grad
    student = model.eval()(mix).wave
    (student * teacher).sum().backward()  # saves the teacher's tensor for backward
    assert model.shares.grad is not None


@pytest.mark.parametrize("length", [0, 1, 2, 99, 100, 101, 1234])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_separate_whole_recordings(model: Halves, length: int, batch_size: int) -> None:
    mix = 3 * torch.randn(2, length, generator=torch.Generator().manual_seed(0)) + 1
    stems = separate(model_chunk_fn(model), SPEC, model.inference, mix, batch_size)
    expected = mix * model.shares.detach()[:, None, None]
    torch.testing.assert_close(stems, expected, atol=1e-6, rtol=1e-6)


def test_normalisation_reaches_the_model_and_is_undone() -> None:
    """The model sees (x - mean) / std of the whole mono mix; its output is mapped back."""
    generator = torch.Generator().manual_seed(0)
    mix = 0.01 * torch.randn(2, 950, generator=generator, dtype=torch.float64).float() + 0.3
    mono = mix.double().mean(0)
    mean, std = mono.mean(), mono.std()
    seen: list[Tensor] = []

    def spy(chunks: Tensor) -> Tensor:
        seen.append(chunks[0].clone())
        return torch.stack([chunks, torch.zeros_like(chunks)], dim=1)

    inference = InferenceDefaults(Fraction(1, 2), overlap=0.0, normalise="file_mono_std")
    stems = separate(spy, SPEC, inference, mix)
    expected = ((mix.double() - mean) / std).float()
    torch.testing.assert_close(torch.cat(seen, dim=-1), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(stems[0], mix, atol=1e-6, rtol=0)
    # demucs' convention: zero from the model is the recording's mean, in every source
    torch.testing.assert_close(stems[1], mean.float().expand(2, 950), atol=1e-6, rtol=0)


def test_silence_stays_finite_and_unchanged(model: Halves) -> None:
    inference = InferenceDefaults(Fraction(1, 10), normalise="file_mono_std")
    stems = separate(model_chunk_fn(model), SPEC, inference, torch.zeros(2, 333))
    assert torch.equal(stems, torch.zeros(2, 2, 333))


@pytest.mark.parametrize("shape", [(1, 50), (50,), (1, 2, 50)])
def test_a_mix_of_another_shape(model: Halves, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"channels = 2"):
        separate(model_chunk_fn(model), SPEC, model.inference, torch.zeros(shape))


@pytest.mark.parametrize("segment", [Fraction(1, 10), None])
def test_progress_rises_to_one(model: Halves, segment: Fraction | None) -> None:
    told: list[float] = []
    inference = InferenceDefaults(segment)
    separate(model_chunk_fn(model), SPEC, inference, torch.zeros(2, 1000), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    # chunks of 100 samples every 75: 13 whole ones, then the end of the recording
    assert len(told) == (1 if segment is None else 14)
