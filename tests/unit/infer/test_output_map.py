from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, InferenceDefaults
from mss.infer.engine import Engine, ModelEngine
from mss.infer.output_map import consistent, only, two_stems, with_residual

SPEC = AudioSpec(("drums", "bass", "vocals"), samplerate=800, channels=2)
MIX = torch.randn(2, 611, generator=torch.Generator().manual_seed(0))


def uneven(chunks: Tensor) -> Tensor:
    """Three stems that do not add up."""
    return torch.stack([0.5 * chunks, chunks.cumsum(-1) / 50, chunks.flip(1)], dim=1)


ENGINE = ModelEngine(
    uneven, SPEC, InferenceDefaults(Fraction(1, 10), overlap=0.25), batch_size=2, shifts=(0, 13)
)


def stems_of(engine: Engine, rate: int = 800, size: int = 45, mix: Tensor = MIX) -> Tensor:
    session = engine.session(rate, mix.shape[0])
    parts = []
    block = torch.empty(mix.shape[0], size)
    for start in range(0, mix.shape[-1], size):
        piece = mix[:, start : start + size]
        block[:, : piece.shape[-1]] = piece  # one buffer for all blocks: waiting ones are copies
        parts.append(session.feed(block[:, : piece.shape[-1]]))
    return torch.cat([*parts, session.flush()], dim=-1)


# 500: the model's rate is another one, so resamplers hold samples back too
RATES = pytest.mark.parametrize("rate", [800, 500])


@RATES
def test_only_the_named_stems(rate: int) -> None:
    engine = only(ENGINE, ["vocals", "drums"])
    assert engine.sources == ("vocals", "drums")
    assert torch.equal(stems_of(engine, rate), stems_of(ENGINE, rate)[[2, 0]])


@RATES
def test_two_stems(rate: int) -> None:
    every = stems_of(ENGINE, rate)
    engine = two_stems(ENGINE, "bass")
    assert engine.sources == ("bass", "no_bass")
    out = stems_of(engine, rate)
    assert torch.equal(out[0], every[1])
    assert torch.equal(out[1], MIX - every[1])
    summed = stems_of(two_stems(ENGINE, "bass", rest="sum"), rate)
    assert torch.equal(summed[0], every[1])
    torch.testing.assert_close(summed[1], every[0] + every[2])


@RATES
def test_the_residual_is_what_the_stems_leave(rate: int) -> None:
    engine = with_residual(ENGINE)
    assert engine.sources == (*SPEC.sources, "residual")
    out = stems_of(engine, rate)
    every = stems_of(ENGINE, rate)
    assert torch.equal(out[:3], every)
    torch.testing.assert_close(out[3], MIX - every.sum(0), atol=1e-6, rtol=0)
    assert out[3].abs().max() > 0.1


@RATES
def test_consistent_stems_add_up_and_move_alike(rate: int) -> None:
    out = stems_of(consistent(ENGINE), rate)
    torch.testing.assert_close(out.sum(0), MIX, atol=2e-6, rtol=0)
    moved = out - stems_of(ENGINE, rate)
    torch.testing.assert_close(moved[0], moved[1], atol=2e-6, rtol=0)
    torch.testing.assert_close(moved[0], moved[2], atol=2e-6, rtol=0)


def test_maps_can_follow_each_other_and_keep_many_channels() -> None:
    mix = torch.randn(6, 300, generator=torch.Generator().manual_seed(1))
    engine = only(with_residual(two_stems(ENGINE, "vocals", rest="sum")), ["residual", "vocals"])
    out = stems_of(engine, mix=mix)
    every = stems_of(ENGINE, mix=mix)
    torch.testing.assert_close(out[0], mix - every.sum(0), atol=2e-6, rtol=0)
    assert torch.equal(out[1], every[2])


@pytest.mark.parametrize("length", [0, 1, 2, 79, 80, 81])
def test_outputs_are_as_long_as_the_recording(length: int) -> None:
    assert stems_of(two_stems(ENGINE, "bass"), mix=MIX[:, :length]).shape == (2, 2, length)


def test_a_stem_that_is_not_wanted_spoils_nothing() -> None:
    def broken(chunks: Tensor) -> Tensor:
        out = uneven(chunks)
        out[:, 0] = torch.nan
        return out

    engine = two_stems(ModelEngine(broken, SPEC, ENGINE.inference), "bass")
    assert stems_of(engine).isfinite().all()


def test_wrong_names() -> None:
    with pytest.raises(ConfigError, match=r"no 'vocal'. Did you mean 'vocals'"):
        only(ENGINE, ["vocal"])
    with pytest.raises(ConfigError, match=r"no 'drum'. Did you mean 'drums'"):
        two_stems(ENGINE, "drum")
    with pytest.raises(ConfigError, match="stands twice"):
        only(ENGINE, ["bass", "bass"])
    with pytest.raises(ConfigError, match=r"none is named. Known: drums"):
        only(ENGINE, [])
    with pytest.raises(ConfigError, match="called 'bass' already"):
        with_residual(ENGINE, "bass")
    with pytest.raises(ConfigError, match="all that the model gives"):
        two_stems(only(ENGINE, ["bass"]), "bass", rest="sum")
