"""Score a separation segment by segment: memory for one segment, however long the recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.types import Separate
from mss.distill.quality.agreement import agreement, draw_variants, separate_variant
from mss.distill.quality.config import QualityConfig
from mss.distill.quality.envelopes import EnvelopeMoments, LogMel
from mss.distill.quality.ratio import Ratio, distortion, undefined
from mss.distill.quality.recording import Recording, cut
from mss.distill.quality.reseparation import draw_remix, remix_cycle, reseparate
from mss.distill.quality.scores import (
    AGREEMENT,
    ENERGY,
    ENVELOPES,
    LEAKAGE,
    MODEL_AGREEMENT,
    REMIX,
    RESEPARATION,
    RESIDUAL,
    SCORES,
    Evidence,
)
from mss.metrics.energy import energy


@dataclass(frozen=True)
class OtherModel:
    """A second model, of another architecture.

    Attributes:
        separate: [C, T] -> [S', C, T].
        sources: names of the S' sources.
    """

    separate: Separate
    sources: tuple[str, ...]


@dataclass(frozen=True)
class ScoredSegment:
    """One segment.

    Attributes:
        start: samples from the beginning of the recording.
        frames: samples.
        sources: names of the S sources.
        estimates: [S, C, frames], what was judged.
        evidence: what its scores are made from. That of a recording is the sum of its segments'.
    """

    start: int
    frames: int
    sources: tuple[str, ...]
    estimates: Tensor
    evidence: Evidence

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """{score: {source: value}}; NaN where it is not defined."""
        return named(self.evidence, self.sources)


def named(evidence: Evidence, sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return {score: {source: value}} of evidence on `sources`."""
    return {
        score: dict(zip(sources, values.tolist(), strict=True))
        for score, values in evidence.scores().items()
    }


class SegmentScorer:
    """Takes the scores of one segment.

    Args:
        separate: [C, T] -> [S, C, T], the model, of recordings at `samplerate`. It is given windows
            of a few seconds and estimates alone, so whatever normalisation by the whole recording
            it needs has to be in it, the same for all of them.
        sources: names of the S sources.
        samplerate: Hz.
        config: how scores are taken.
        other: a second model; without one MODEL_AGREEMENT is not taken.
        adds_up: the sources are to add up to the mixture; RESIDUAL is not taken otherwise.

    Attributes:
        config: as given.
        sources: as given.
        before: samples that a window holds before its segment.
        after: samples that it holds after it.
        context: samples, of `before` and of `after`, with which estimates are judged.
        names: the scores that are taken.

    Raises:
        ConfigError: none of the scores can be taken.
    """

    def __init__(
        self,
        separate: Separate,
        sources: Sequence[str],
        samplerate: int,
        config: QualityConfig | None = None,
        *,
        other: OtherModel | None = None,
        adds_up: bool = True,
    ) -> None:
        self.config = config or QualityConfig()
        self.sources = tuple(sources)
        self.samplerate = samplerate
        self._separate = separate
        self._other = other
        self.context = round(self.config.context * samplerate)
        self._longest = round(self.config.longest_shift * samplerate)
        self.before, self.after = self.context + self._longest, self.context
        left_out = {RESIDUAL: not adds_up, MODEL_AGREEMENT: other is None}
        self.names = tuple(
            name for name in SCORES if name in self.config.scores and not left_out.get(name)
        )
        if not self.names:
            needs = {
                RESIDUAL: "sources that add up to the mixture",
                MODEL_AGREEMENT: "a second model (--second)",
            }
            reasons = (f"{name} needs {needs[name]}" for name in self.config.scores)
            raise ConfigError(f"scores: {', '.join(reasons)}; or ask for others, too")
        self._log_mel = LogMel(samplerate) if ENVELOPES in self.names else None

    @property
    def frames(self) -> int | None:
        """Samples of a segment; None: the whole recording."""
        seconds = self.config.segment
        return None if seconds is None else max(1, round(seconds * self.samplerate))

    @torch.no_grad()
    def __call__(
        self, window: Tensor, start: int, estimates: Tensor | None = None
    ) -> ScoredSegment:
        """Score one segment.

        Args:
            window: [C, before + frames + after] of the mixture.
            start: of the segment in the recording, samples; with the seed it decides the shifts.
            estimates: [S, C, context + frames + context] to be judged, separated before (by this
                model or by another); None: they are made here.

        Raises:
            DataError: an estimate holds a sample that is not a finite number.
        """
        mix = window[:, self._longest :]  # [C, context + frames + context]
        if estimates is None:
            estimates = self._separate(mix)
        expected = (len(self.sources), *mix.shape)
        assert estimates.shape == expected, (tuple(estimates.shape), expected)
        if not bool(estimates.isfinite().all()):
            raise DataError(
                f"the estimates of the segment at {start / self.samplerate:.1f} s hold samples that"
                " are infinite or not numbers: the model has diverged, or a file is damaged"
            )
        core = slice(self.context, mix.shape[-1] - self.after)
        ratios = self._cheap(mix[:, core], estimates[..., core])
        if AGREEMENT in self.names:
            ratios[AGREEMENT] = self._agreement(window, start, estimates, core)
        if MODEL_AGREEMENT in self.names:
            ratios[MODEL_AGREEMENT] = self._model_agreement(mix, estimates, core)
        if RESEPARATION in self.names or LEAKAGE in self.names:
            again = reseparate(self._separate, estimates, core)
            ratios |= {RESEPARATION: again.kept, LEAKAGE: again.leaked}
        if REMIX in self.names:
            remix = draw_remix(len(self.sources), self.context, self.config.seed, start)
            ratios[REMIX] = remix_cycle(self._separate, estimates, remix, core)
        inside = estimates[..., core]
        envelopes = None
        if self._log_mel is not None:
            envelopes = EnvelopeMoments.of(self._log_mel(inside, mix[:, core]))
        taken = {name: ratio for name, ratio in ratios.items() if name in self.names}
        return ScoredSegment(
            start, inside.shape[-1], self.sources, inside, Evidence(taken, envelopes)
        )

    def _cheap(self, mix: Tensor, estimates: Tensor) -> dict[str, Ratio]:
        """Return what needs no further separation."""
        count = len(self.sources)
        whole = distortion(mix, reduce(estimates, "s c t -> c t", "sum"))
        return {
            RESIDUAL: Ratio(whole.above.expand(count), whole.below.expand(count)),
            ENERGY: Ratio(energy(estimates), energy(mix).expand(count)),
        }

    def _agreement(self, window: Tensor, start: int, estimates: Tensor, core: slice) -> Ratio:
        config = self.config
        variants = draw_variants(config.shifts, self._longest, window.shape[0], config.seed, start)
        others = [
            separate_variant(self._separate, window, self._longest, variant)[..., core]
            for variant in variants
        ]
        return agreement([estimates[..., core], *others])

    def _model_agreement(self, mix: Tensor, estimates: Tensor, core: slice) -> Ratio:
        """Return the agreement of the sources that both models give; nothing of the others."""
        assert self._other is not None
        there = self._other.separate(mix)[..., core]
        above, below = undefined(len(self.sources)).above, undefined(len(self.sources)).below
        for row, source in enumerate(self.sources):
            if source in self._other.sources:
                theirs = there[self._other.sources.index(source)]
                both = agreement([estimates[row : row + 1, ..., core], theirs[None]])
                above[row], below[row] = both.above[0], both.below[0]
        return Ratio(above, below)


def score_segments(
    scorer: SegmentScorer,
    mix: Recording,
    estimates: Recording | None = None,
    span: tuple[int, int] | None = None,
) -> Iterator[ScoredSegment]:
    """Yield the scored segments of a recording, one after the other.

    Args:
        scorer: takes the scores.
        mix: [C, T].
        estimates: [S, C, T] to be judged; None: the scorer's model makes them, of each window.
        span: first sample, and number of samples, that are cut into segments; None: all.

    Raises:
        DataError: see SegmentScorer.
    """
    first, length = span or (0, mix.length)
    for begin, frames in cut(length, scorer.frames):
        start = first + begin
        window = mix.window(start - scorer.before, scorer.before + frames + scorer.after)
        given = None
        if estimates is not None:
            given = estimates.window(start - scorer.context, frames + 2 * scorer.context)
        yield scorer(window, start, given)


def total(segments: Sequence[Evidence]) -> Evidence:
    """Return the evidence of all segments together, at least one."""
    first, *others = segments
    for evidence in others:
        first = first + evidence
    return first
