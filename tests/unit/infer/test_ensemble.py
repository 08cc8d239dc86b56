"""Ensembles against NumPy, on members of other rates, chunks, orders and normalisation."""

from __future__ import annotations

import logging
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.stft import Stft
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.combine import Domain, Rule
from mss.infer.engine import Engine, ModelEngine
from mss.infer.ensemble import EnsembleEngine

RATE = 8000
MIX = torch.randn(2, 9000, generator=torch.Generator().manual_seed(0)) + 0.1


def gains(*values: float) -> ChunkFn:
    def chunk_fn(chunks: Tensor) -> Tensor:
        ramp = torch.linspace(0.5, 1.5, chunks.shape[-1])
        bent = (chunks * ramp).tanh()
        return torch.stack([value * bent + (1 - value) * chunks for value in values], dim=1)

    return chunk_fn


MEMBERS: list[Engine] = [
    ModelEngine(
        gains(0.2, -0.8), AudioSpec(("a", "b"), RATE, 2), InferenceDefaults(Fraction(1, 4))
    ),
    ModelEngine(
        gains(0.9, 0.4),
        AudioSpec(("b", "a"), 6000, 1),
        InferenceDefaults(Fraction(1, 10), overlap=0.5, normalise="file_mono_std"),
        batch_size=2,
    ),
    ModelEngine(
        gains(-0.3, 0.7, 2.0),
        AudioSpec(("a", "b", "c"), RATE, 2),
        InferenceDefaults(Fraction(1, 3), window="hann"),
        shifts=(0, 100),
    ),
]


def run(engine: Engine, mix: Tensor, size: int) -> Tensor:
    first_pass = engine.first_pass(RATE, mix.shape[0])
    facts = ()
    if first_pass is not None:
        first_pass.feed(mix)
        facts = first_pass.finish()
    session = engine.session(RATE, mix.shape[0], facts)
    assert session.latency is not None
    parts, done = [], 0
    for start in range(0, mix.shape[-1], size):
        parts.append(session.feed(mix[:, start : start + size]))
        done += parts[-1].shape[-1]
        assert min(start + size, mix.shape[-1]) - done < session.latency
    return torch.cat([*parts, session.flush()], dim=-1)


def estimates(mix: Tensor, members: list[Engine]) -> np.ndarray:
    """What each member gives alone, [M, S, C, T] of the sources a and b."""
    rows = [
        run(member, mix, 1 << 14)[[member.sources.index(name) for name in ("a", "b")]]
        for member in members
    ]
    return torch.stack(rows).numpy()


def by_magnitude(values: np.ndarray, index: int) -> np.ndarray:
    order = np.argsort(np.abs(values), axis=0, kind="stable")[[index]]
    return np.take_along_axis(values, order, axis=0)[0]


def numpy_rule(values: np.ndarray, rule: Rule) -> np.ndarray:
    if rule == "mean":
        return values.mean(0)
    if rule == "median" and not np.iscomplexobj(values):
        return np.median(values, axis=0)
    if rule == "median":
        middle = len(values) // 2
        odd = by_magnitude(values, middle)
        return odd if len(values) % 2 else (odd + by_magnitude(values, middle - 1)) / 2
    return by_magnitude(values, 0 if rule == "min" else -1)


@pytest.mark.parametrize("rule", ["mean", "median", "min", "max"])
@pytest.mark.parametrize("count", [2, 3])
def test_waves(rule: Rule, count: int) -> None:
    ensemble = EnsembleEngine(MEMBERS[:count], rule, common_only=True)
    assert ensemble.sources == ("a", "b")
    expected = numpy_rule(estimates(MIX, MEMBERS[:count]), rule)
    np.testing.assert_allclose(run(ensemble, MIX, 1234).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("rule", ["mean", "median", "min", "max"])
@pytest.mark.parametrize("count", [2, 3])
def test_spectra_are_those_of_the_whole_recording(rule: Rule, count: int) -> None:
    """Streamed in windows, the result is that of one transform, past the window's ends."""
    # in double precision, so that rounding makes no bin choose another member
    ramp = torch.linspace(0.1, 1, 140_001, dtype=torch.float64)
    mix = MIX.double().repeat(1, 16)[:, :140_001] * ramp
    members = MEMBERS[:count]
    got = run(EnsembleEngine(members, rule, "spectrum", common_only=True), mix, 30_000)
    stft = Stft(2048, 1024)
    spectra = stft(torch.from_numpy(estimates(mix, members))).numpy()
    expected = stft.inverse(torch.from_numpy(numpy_rule(spectra, rule)), mix.shape[-1])
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


@settings(max_examples=12, deadline=None)
@given(
    length=st.integers(1, 9000),
    size=st.integers(1, 5000).filter(lambda size: size > 40),
    rule=st.sampled_from(["mean", "median", "min", "max"]),
    domain=st.sampled_from(["wave", "spectrum"]),
    channels=st.sampled_from([1, 2, 3]),
)
def test_any_blocks_give_the_offline_result(
    length: int, size: int, rule: Rule, domain: Domain, channels: int
) -> None:
    ensemble = EnsembleEngine(MEMBERS, rule, domain, common_only=True)
    mix = MIX[[0, 1, 0][:channels], :length]
    streamed = run(ensemble, mix, size)
    assert streamed.shape == (2, channels, length)
    torch.testing.assert_close(streamed, run(ensemble, mix, length), atol=1e-6, rtol=0)


def test_weights_are_per_member_and_source() -> None:
    weights = [[1, 0], [3, 1]]
    got = run(EnsembleEngine(MEMBERS[:2], weights=weights), MIX, 999)
    alone = estimates(MIX, MEMBERS[:2])
    expected = np.stack([(alone[0, 0] + 3 * alone[1, 0]) / 4, alone[1, 1]])
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_sources_that_not_all_members_give(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        ConfigError, match=r"not all models give c. Name the sources wanted, of a, b"
    ):
        EnsembleEngine(MEMBERS)
    with caplog.at_level(logging.WARNING):
        assert EnsembleEngine(MEMBERS, common_only=True).left_out == ("c",)
    assert "not all models give c; left out" in caplog.text
    stranger = ModelEngine(gains(1), AudioSpec(("z",), RATE, 2), InferenceDefaults(None))
    with pytest.raises(ConfigError, match="no source is given by all models"):
        EnsembleEngine([MEMBERS[0], stranger], common_only=True)


def test_wrong_options() -> None:
    pair = MEMBERS[:2]
    with pytest.raises(ConfigError, match="at least one model"):
        EnsembleEngine([])
    with pytest.raises(
        ConfigError, match=r"ensemble.rule: there is no 'mode'. Known: mean, median"
    ):
        EnsembleEngine(pair, "mode")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"ensemble.domain"):
        EnsembleEngine(pair, domain="mel")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a median has no weights"):
        EnsembleEngine(pair, "median", weights=[[1, 1], [1, 1]])
    with pytest.raises(ConfigError, match="no member has a weight for 'b'"):
        EnsembleEngine(pair, weights=[[1, 0], [1, 0]])


def test_no_first_pass_where_no_member_needs_one() -> None:
    assert EnsembleEngine([MEMBERS[0]]).first_pass(RATE, 2) is None
