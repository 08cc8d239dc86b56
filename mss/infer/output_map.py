"""Outputs made of stems and the mixture: one stem and the rest, a residual, sums that agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mss.core.errors import ConfigError, nearest_name_hint
from mss.infer.aligned import Aligned
from mss.infer.engine import Engine, Facts, FirstPass, Session

Rest = Literal["mixture", "sum"]
"""The other of two stems: the mixture without the one, or the sum of all others."""


@dataclass(frozen=True)
class OutputMap:
    """Output o is sum_s weights[o][s] stem_s + mixture[o] * mixture, sample by sample.

    Attributes:
        outputs: names, O of them.
        weights: [O][S].
        mixture: [O].
    """

    outputs: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    mixture: tuple[float, ...]

    def __call__(self, stems: Tensor, mixture: Tensor | None) -> Tensor:
        """Map stems [S, C, n] and the mixture [C, n] to outputs [O, C, n].

        A stem without a weight takes no part: an output that is one stem is that, bit for bit.
        """
        rows = []
        for weights, share in zip(self.weights, self.mixture, strict=True):
            terms = [w * stem for w, stem in zip(weights, stems, strict=True) if w]
            if share:
                assert mixture is not None
                # the mixture first: what the stems take from it is then rounded alike everywhere
                terms.insert(0, share * mixture.to(stems))
            rows.append(sum(terms[1:], start=terms[0]) if terms else torch.zeros_like(stems[0]))
        return torch.stack(rows)


class MappedEngine:
    """An engine whose outputs are made of another's stems and of the recording.

    The stems and the recording are brought together to the sample, however long the engine holds
    its stems back; beside the engine, that many samples of the recording are in memory.

    Args:
        engine: the other.
        output_map: for its sources.
    """

    def __init__(self, engine: Engine, output_map: OutputMap) -> None:
        assert all(len(row) == len(engine.sources) for row in output_map.weights)
        self._engine = engine
        self._map = output_map

    @property
    def sources(self) -> tuple[str, ...]:
        return self._map.outputs

    def first_pass(self, samplerate: int, channels: int) -> FirstPass | None:
        return self._engine.first_pass(samplerate, channels)

    def session(self, samplerate: int, channels: int, facts: Facts = ()) -> Session:
        return _MappedSession(self._engine.session(samplerate, channels, facts), self._map)


class _MappedSession:
    def __init__(self, session: Session, output_map: OutputMap) -> None:
        self.channels = session.channels
        self._session = session
        self._map = output_map
        self._needs_mixture = any(output_map.mixture)
        self._aligned = Aligned(2)

    @property
    def latency(self) -> int | None:
        return self._session.latency

    def feed(self, block: Tensor) -> Tensor:
        # a copy: it waits for its stems, and a caller may reuse its block
        return self._outputs(self._session.feed(block), block.clone())

    def flush(self) -> Tensor:
        stems = self._session.flush()
        return self._outputs(stems, stems.new_zeros(self.channels, 0))

    def _outputs(self, stems: Tensor, block: Tensor) -> Tensor:
        if not self._needs_mixture:
            return self._map(stems, None)
        stems, mixture = self._aligned.take([stems, block])
        return self._map(stems, mixture)


def only(engine: Engine, names: Sequence[str]) -> Engine:
    """Return an engine that gives some of the stems, in the order of `names`.

    Raises:
        ConfigError: no names, a name twice, or one that the engine does not give.
    """
    if not names:
        raise ConfigError(f"stems: none is named. Known: {', '.join(engine.sources)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"stems: a name stands twice in {list(names)}")
    rows = tuple(_one(engine, name) for name in names)
    return MappedEngine(engine, OutputMap(tuple(names), rows, (0.0,) * len(rows)))


def two_stems(engine: Engine, name: str, rest: Rest = "mixture") -> Engine:
    """Return an engine that gives the stem `name` and, as ``no_<name>``, everything else.

    Args:
        engine: gives the stem.
        name: of the stem.
        rest: "mixture": everything else is the mixture without the stem, so that both add up to
            the mixture, and other stems need not be made. "sum": it is the sum of the other stems.

    Raises:
        ConfigError: the engine does not give that stem or, for "sum", no other.
    """
    stem = _one(engine, name)
    if rest == "mixture":
        row, share = tuple(-weight for weight in stem), 1.0
    elif len(engine.sources) == 1:
        raise ConfigError(
            f"two-stems: {name} is all that the model gives, so there is no sum of others; take "
            "the mixture without it"
        )
    else:
        row, share = tuple(1.0 - weight for weight in stem), 0.0
    return MappedEngine(engine, OutputMap((name, f"no_{name}"), (stem, row), (0.0, share)))


def with_residual(engine: Engine, name: str = "residual") -> Engine:
    """Return an engine that also gives what its stems leave of the mixture, as the last one.

    Raises:
        ConfigError: the engine has a stem of that name.
    """
    sources = engine.sources
    if name in sources:
        raise ConfigError(f"residual: the model has a stem called {name!r} already; leave it out")
    rows = (*(_one(engine, source) for source in sources), (-1.0,) * len(sources))
    return MappedEngine(engine, OutputMap((*sources, name), rows, (*(0.0,) * len(sources), 1.0)))


def consistent(engine: Engine) -> Engine:
    """Return an engine whose stems add up to the mixture.

    Each stem gets an equal share of what all of them leave: the nearest stems, by least squares,
    that add up (Wisdom et al., "Differentiable consistency constraints for improved deep speech
    enhancement", ICASSP 2019).
    """
    sources = engine.sources
    share = 1 / len(sources)
    rows = tuple(
        tuple(float(row == column) - share for column in range(len(sources)))
        for row in range(len(sources))
    )
    return MappedEngine(engine, OutputMap(sources, rows, (share,) * len(sources)))


def _one(engine: Engine, name: str) -> tuple[float, ...]:
    """Return the weights that pick one stem.

    Raises:
        ConfigError: there is no such stem; the nearest name is suggested.
    """
    if name not in engine.sources:
        hint = nearest_name_hint(name, engine.sources)
        raise ConfigError(f"stems: the model gives no {name!r}.{hint}")
    return tuple(float(source == name) for source in engine.sources)
