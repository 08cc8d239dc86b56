"""Several engines as one: models of different rates, chunks and normalisation, heard together."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import get_args

import torch
from einops import rearrange
from torch import Tensor

from mss.core.errors import ConfigError
from mss.infer.aligned import Aligned, FixedBlocks
from mss.infer.bag import normalised_weights
from mss.infer.combine import Domain, Rule, SpectralCombine, combine, weighted_mean
from mss.infer.engine import Engine, Facts, FirstPass, Session
from mss.infer.plan import Plan
from mss.infer.streamer import Streamer

_BLOCK = 1 << 14
"""Samples that the members get at a time: resamplers round a little otherwise over other lengths,
and which of two all but equal estimates is the smaller must not depend on that."""

_N_FFT = 2048
_HOP = 1024
_WINDOW_FRAMES = 64
"""Spectra are combined in windows of that many frames, which bounds memory and changes nothing."""

logger = logging.getLogger(__name__)


class EnsembleEngine:
    """Combines the stems of several engines, at the recording's sample rate and channels.

    Every member runs on its own grid and with its own first pass, as it would alone.

    Args:
        members: the engines.
        rule: how their estimates become one; see mss.infer.combine.
        domain: of samples, or of the bins of a spectrum (Hann window of 2048 samples of the
            recording, half overlapped). The mean is the same in both.
        weights: for the mean: one row a member, one weight a source; None: all equal.
        common_only: give the sources that all members have, instead of refusing others.

    Attributes:
        sources: in the order of the first member.
        left_out: sources that some members give and the ensemble does not.

    Raises:
        ConfigError: no members; sources that not all members give, or none that all do; weights
            that are of the wrong shape, negative or all zero for a source, or not for a mean.
    """

    def __init__(
        self,
        members: Sequence[Engine],
        rule: Rule = "mean",
        domain: Domain = "wave",
        weights: Sequence[Sequence[float]] | None = None,
        common_only: bool = False,
    ) -> None:
        for key, value, kind in (("rule", rule, Rule), ("domain", domain, Domain)):
            if value not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ConfigError(f"ensemble.{key}: there is no {value!r}. Known: {known}")
        self.sources, self.left_out = _common_sources(members, common_only)
        if weights is not None and rule != "mean":
            raise ConfigError(f"ensemble.weights: a {rule} has no weights; leave them out")
        self._weights = None
        if weights is not None:
            self._weights = normalised_weights(weights, len(members), self.sources).tolist()
        self._members = list(members)
        self._rule: Rule = rule
        # the transform is linear: the mean of spectra is the mean of waves
        self._spectral = domain == "spectrum" and rule != "mean"

    def first_pass(self, samplerate: int, channels: int) -> FirstPass | None:
        passes = [member.first_pass(samplerate, channels) for member in self._members]
        return None if all(one is None for one in passes) else _FirstPasses(passes)

    def session(self, samplerate: int, channels: int, facts: Facts = ()) -> Session:
        facts = facts or ((),) * len(self._members)
        sessions = []
        for member, fact in zip(self._members, facts, strict=True):
            assert isinstance(fact, tuple), "the facts are another engine's"
            sessions.append(member.session(samplerate, channels, fact))
        # where each member has the ensemble's sources
        orders = [
            [member.sources.index(source) for source in self.sources] for member in self._members
        ]
        stems = _Members(sessions, orders)
        if self._spectral:
            return _SpectralSession(stems, self._rule)
        return _WaveSession(stems, self._rule, self._weights)


def _common_sources(
    members: Sequence[Engine], common_only: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sources that all members give, and those that only some of them do."""
    if not members:
        raise ConfigError("ensemble: needs at least one model")
    everything = dict.fromkeys(source for member in members for source in member.sources)
    common = tuple(
        source for source in everything if all(source in member.sources for member in members)
    )
    others = tuple(source for source in everything if source not in common)
    if not common:
        given = "; ".join(", ".join(member.sources) for member in members)
        raise ConfigError(f"ensemble: no source is given by all models. They give: {given}")
    if others and not common_only:
        raise ConfigError(
            f"ensemble: not all models give {', '.join(others)}. Name the sources wanted, of "
            f"{', '.join(common)}, or choose other models."
        )
    if others:
        logger.warning("ensemble: not all models give %s; left out", ", ".join(others))
    return common, others


class _FirstPasses:
    def __init__(self, passes: Sequence[FirstPass | None]) -> None:
        self._passes = list(passes)

    def feed(self, block: Tensor) -> None:
        for one in self._passes:
            if one is not None:
                one.feed(block)

    def finish(self) -> Facts:
        return tuple(() if one is None else one.finish() for one in self._passes)


class _Members:
    """The sessions of the members, their stems in one order and at common samples."""

    def __init__(self, sessions: Sequence[Session], orders: Sequence[Sequence[int]]) -> None:
        self._sessions = list(zip(sessions, orders, strict=True))
        self._blocks = FixedBlocks(_BLOCK)
        self._aligned = Aligned(len(self._sessions))
        self.channels = sessions[0].channels
        assert all(session.channels == self.channels for session in sessions)
        self.count = len(sessions)
        self.sources = len(orders[0])

    @property
    def latency(self) -> int | None:
        latencies = [session.latency for session, _ in self._sessions]
        known = [latency for latency in latencies if latency is not None]
        return max(known) + self._blocks.size if len(known) == len(latencies) else None

    def feed(self, block: Tensor) -> Iterator[Tensor]:
        """Take in [C, n]; yield what all members have done [M, S, C, m], block by block."""
        for fixed in self._blocks.feed(block):
            yield self._stack([session.feed(fixed) for session, _ in self._sessions])

    def flush(self) -> Iterator[Tensor]:
        """End the recording; yield the rest."""
        for fixed in self._blocks.flush():
            yield self._stack([session.feed(fixed) for session, _ in self._sessions])
        yield self._stack([session.flush() for session, _ in self._sessions])

    def nothing(self, block: Tensor) -> Tensor:
        """Return no samples [S, C, 0]."""
        return block.new_zeros(self.sources, self.channels, 0)

    def _stack(self, stems: list[Tensor]) -> Tensor:
        # as soon as they are done, so that a source that is not wanted is not kept
        wanted = [
            member[list(order)] for member, (_, order) in zip(stems, self._sessions, strict=True)
        ]
        return torch.stack(self._aligned.take(wanted))


class _WaveSession:
    """Combines sample by sample."""

    def __init__(
        self, members: _Members, rule: Rule, weights: Sequence[Sequence[float]] | None
    ) -> None:
        self._members = members
        self._rule = rule
        self._weights = weights
        self.channels = members.channels

    @property
    def latency(self) -> int | None:
        return self._members.latency

    def feed(self, block: Tensor) -> Tensor:
        done = [self._combine(stems) for stems in self._members.feed(block)]
        return torch.cat(done, dim=-1) if done else self._members.nothing(block)

    def flush(self) -> Tensor:
        return torch.cat([self._combine(stems) for stems in self._members.flush()], dim=-1)

    def _combine(self, stems: Tensor) -> Tensor:
        if self._weights is not None:
            return weighted_mean(stems, self._weights)
        return combine(stems, self._rule)


class _SpectralSession:
    """Combines bin by bin, in windows of frames whose edges are discarded.

    Windows begin on a frame of the recording's own transform and discard a whole transform at
    their edges, so the result is that of the one transform of the whole recording.
    """

    def __init__(self, members: _Members, rule: Rule) -> None:
        self._members = members
        self.channels = members.channels
        stride, context = _WINDOW_FRAMES * _HOP, math.ceil(_N_FFT / _HOP) * _HOP
        self._streamer = Streamer(
            SpectralCombine(members.count, members.sources, rule, _N_FFT, _HOP),
            Plan(
                members.sources,
                self.channels,
                segment=stride + 2 * context,
                stride=stride,
                window="flat",
                context=context,
                inputs=members.count * members.sources * self.channels,
            ),
        )

    @property
    def latency(self) -> int | None:
        members, own = self._members.latency, self._streamer.latency
        return None if members is None or own is None else members + own

    def feed(self, block: Tensor) -> Tensor:
        done = [self._combine(stems) for stems in self._members.feed(block)]
        return torch.cat(done, dim=-1) if done else self._members.nothing(block)

    def flush(self) -> Tensor:
        done = [self._combine(stems) for stems in self._members.flush()]
        return torch.cat([*done, self._streamer.flush()], dim=-1)

    def _combine(self, stems: Tensor) -> Tensor:
        return self._streamer.feed(rearrange(stems, "m s c t -> (m s c) t"))
