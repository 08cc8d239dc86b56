"""The scores of one song, beside museval."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from tools.bench_pair import Pair, Side

RATE = 44100


def _song(options: dict[str, Any]) -> Any:
    """Return references and estimates [S, C, T] of four stereo sources in 16 bits.

    Coloured noise: what the scores cost does not depend on what is played.
    """
    import torch

    frames = int(options["song_seconds"] * RATE)
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(4, 2, frames, generator=generator).mul_(0.05)
    reference[..., 1:] += 0.9 * reference[..., :-1]
    estimate = 0.8 * reference
    estimate += 0.1 * reference.roll(1, 0)
    estimate += 0.01 * torch.randn(4, 2, frames, generator=generator)
    return [audio.mul_(32768).round_().div_(32768) for audio in (reference, estimate)]


def all_four(options: dict[str, Any]) -> Callable[[], float]:
    """SDR, ISR, SIR and SAR of every second, as test=museval has them."""
    from mss.metrics.bsseval_metric import BSSEval

    return _metric(BSSEval(), options)


def sdr_alone(options: dict[str, Any]) -> Callable[[], float]:
    """SDR of every second, as test=csdr has it."""
    from mss.metrics.bsseval_metric import CSDR

    return _metric(CSDR(), options)


def _metric(metric: Any, options: dict[str, Any]) -> Callable[[], float]:
    reference, estimate = (audio.to(options["device"]) for audio in _song(options))

    def score() -> float:
        metric.frames(reference, estimate, RATE)
        return 1.0

    return score


def museval(options: dict[str, Any]) -> Callable[[], float]:
    """The same four by the museval package, with the frames of museval.evaluate."""
    from mss.metrics.museval_backend import museval_ratios

    # museval takes [S, T, C] in float64
    reference, estimate = (a.double().numpy().transpose(0, 2, 1) for a in _song(options))

    def score() -> float:
        museval_ratios(reference, estimate, RATE, RATE)
        return 1.0

    return score


def _pair(name: str, ours: Side) -> Pair:
    return Pair(name, "songs", ours, museval, f"museval {version('museval')}", peer_once=True)


EVALUATION_PAIRS = [_pair("bsseval", all_four), _pair("csdr", sdr_alone)]
