"""BSS-eval v4: SDR, ISR, SIR and SAR of short frames, as museval 0.4.1 defines them.

An estimate e of source j is split into four parts by two least squares projections with filters of
L = 512 taps, which are fitted once over the whole recording:

    P_j e   onto source j's own channels, delayed by 0 ... L - 1 samples;
    P e     onto the channels of all sources, delayed likewise;

    target s_j    spatial distortion P_j e - s_j    interference P e - P_j e    artefacts e - P e

and each frame's ratios compare their energies (Vincent, Gribonval and Févotte 2006; Stöter,
Liutkus and Ito 2018, arXiv 1804.06267). A frame's filtered parts are L - 1 samples longer than it.

How it is computed: correlations at L lags by FFTs of short blocks; one Gram matrix of all channels,
block-Toeplitz, factorised once (Cholesky); one FFT a channel and frame, in which a filter is a
product and an energy a sum (Parseval). All in float64: the Gram matrix of music is badly
conditioned. Memory: that matrix ((S C L)^2 numbers, 134 MB for four stereo sources), its factor,
and one frame.

SDR needs no projection: the parts other than the target add up to e - s_j.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from mss.core.errors import DataError
from mss.metrics.frames import Framing, any_silent, decibels, energy, frame_energies

logger = logging.getLogger(__name__)

TAPS = 512
"""Length L of the projection filters."""

CONDITION_LIMIT = 1e11
"""Condition number of the Gram matrix from which on it is tried how far the ratios can move."""

PERTURBATION = 1e-13
"""Power of that trial's noise, relative to the references' mean power: -130 dB."""

TOLERANCE = 1e-3
"""dB by which the ratios may move in it without being called ill-determined."""

_TRIAL_FRAMES = 8
"""So many of the frames that have scores, evenly spaced, are looked at."""

_NOTHING_DB = 100.0
"""A part that lies so far below is rounding."""

_BLOCK_CPU = 4096
_BLOCK_GPU = 65536
"""Samples of an FFT for the correlations: on a CPU they stay in its cache."""

_ITERATIONS = 5
"""Of the power iterations: enough for the condition number's order of magnitude."""


@dataclass(frozen=True)
class Ratios:
    """What BSS-eval gives: each of the four [S, frames] float64 in dB.

    Attributes:
        sdr, isr, sir, sar: NaN in every source where any reference or estimate is silent.
        condition: condition number (2-norm, estimated) of the references' Gram matrix.
        moves: dB by which ISR, SIR and SAR of a frame move, at most, when noise 130 dB below the
            references is added to these; 0 where the condition number rules it out.
    """

    sdr: Tensor
    isr: Tensor
    sir: Tensor
    sar: Tensor
    condition: float
    moves: float

    @property
    def well_determined(self) -> bool:
        """Whether the projections are decided by the signals rather than by rounding.

        They are not where references leave parts of the spectrum empty to the last bit, as
        band-limited signals do that were never quantised. There museval's own ISR, SIR and SAR move
        by whole decibels when a reference is changed by 1e-13. SDR is exact in any case.
        """
        return self.moves < TOLERANCE

    def remark(self) -> str:
        """Say that the ratios are not well determined."""
        return (
            f"ISR, SIR and SAR depend on rounding: they move by up to {self.moves:.2g} dB when"
            " noise 130 dB below the references is added to them. These leave bands empty to the"
            f" last bit, or depend on each other (condition number {self.condition:.0e})"
        )


def bss_eval(
    reference: Any, estimate: Any, window: float = 44100, hop: float = 44100
) -> tuple[Any, Any, Any, Any]:
    """Return (sdr, isr, sir, sar), each [S, frames] in dB, of audio in museval's layout.

    Args:
        reference: [S, T, C] (or [S, T]), an array or a tensor.
        estimate: as `reference`, on the same device.
        window: samples of one frame; infinite, or more than there are: all of them.
        hop: samples between the starts of two frames. Samples after the last whole frame are not
            in any.

    Returns:
        Arrays for arrays, tensors for tensors; float64. A frame in which the channels' sum of any
        reference or estimate is all zero is NaN for every source.

    Raises:
        DataError: the shapes differ, a source is silent throughout (the projections don't exist),
            or a sample is not finite.
    """
    as_array = not isinstance(reference, Tensor)
    ratios = bss_eval_ratios(_channels_first(reference), _channels_first(estimate), window, hop)
    if not ratios.well_determined:
        logger.warning("bss_eval: %s", ratios.remark())
    values = (ratios.sdr, ratios.isr, ratios.sir, ratios.sar)
    return tuple(value.numpy() for value in values) if as_array else values  # type: ignore[return-value]


def _channels_first(audio: Any) -> Tensor:
    """Return [S, T, C] or [S, T] as a tensor [S, C, T]; no sample is copied."""
    tensor = torch.as_tensor(audio)
    if tensor.ndim == 2:
        tensor = tensor[..., None]
    if tensor.ndim != 3:
        raise DataError(f"bss_eval: takes [S, T, C] or [S, T], not {list(tensor.shape)}")
    return rearrange(tensor, "s t c -> s c t")


@torch.no_grad()
def bss_eval_ratios(
    reference: Tensor, estimate: Tensor, window: float = 44100, hop: float = 44100
) -> Ratios:
    """Return all four ratios of references and estimates [S, C, T]; see bss_eval."""
    _check(reference, estimate)
    framing = Framing(reference.shape[-1], window, hop)
    lags = _correlations(reference.flatten(0, 1), estimate.flatten(0, 1))
    if not lags.isfinite().all():  # cheaper than a look at every sample
        what = "an estimate" if reference.isfinite().all() else "a reference"
        raise DataError(f"bss_eval: a sample of {what} is infinite, too large or not a number")
    filters = _fit_filters(lags, reference.shape[1])
    projected = _projected_ratios(reference, estimate, framing, filters)
    moves = 0.0
    if filters.condition >= CONDITION_LIMIT:
        moves = _trial(reference, estimate, framing, lags, projected)
    sdr = frame_energies(reference, estimate, framing).sdr()
    isr, sir, sar = projected
    return Ratios(sdr, isr, sir, sar, filters.condition, moves)


def _check(reference: Tensor, estimate: Tensor) -> None:
    if reference.shape != estimate.shape:
        raise DataError(
            f"bss_eval: references {list(reference.shape)} and estimates {list(estimate.shape)}"
            " differ in sources, channels or samples"
        )
    for what, audio in (("a reference", reference), ("an estimate", estimate)):
        if any_silent(audio):
            raise DataError(
                f"bss_eval: {what} is silent throughout, so there is nothing to project on;"
                " leave that source out"
            )


@dataclass(frozen=True)
class _Filters:
    """The projections' impulse responses.

    Attributes:
        own: [S, C, C, L], from a channel of the reference to one of the same source's estimate.
        every: [K, K, L], K = S C, from any reference channel to any estimated channel.
        condition: of the Gram matrix of all channels.
    """

    own: Tensor
    every: Tensor
    condition: float


def _fit_filters(lags: Tensor, channels: int, noise: float = 0.0) -> _Filters:
    """Fit the projections over the whole recording.

    Args:
        lags: correlations of references with these and with the estimates, [K, 2 K, L].
        channels: C of each source.
        noise: power of white noise that is added to the references, relative to theirs.
    """
    rows = lags.shape[0]
    gram = _block_toeplitz(lags[:, :rows])  # [K L, K L]
    gram.diagonal().add_(noise * gram.diagonal().mean())
    cross = rearrange(lags[:, rows:], "i j l -> (i l) j")  # [K L, K]
    own = []
    for first in range(0, rows, channels):
        columns = slice(first, first + channels)
        taps = slice(first * TAPS, (first + channels) * TAPS)
        fitted, _ = _solve(gram[taps, taps], cross[taps, columns])
        own.append(rearrange(fitted, "(i l) j -> i j l", i=channels))
    every, factor = _solve(gram, cross)
    return _Filters(
        own=torch.stack(own),
        every=rearrange(every, "(i l) j -> i j l", i=rows),
        condition=_condition(gram, factor),
    )


def _correlations(reference: Tensor, estimate: Tensor) -> Tensor:
    """Return sum_n x_i[n] y_j[n + l] for the lags l = 0 ... L - 1: [K, 2 K, L] float64.

    x are the K reference channels [K, T]; y those and the K estimated ones. Block by block: a block
    of x against that of y which is L - 1 samples longer.
    """
    rows, length = reference.shape
    size = _BLOCK_CPU if reference.device.type == "cpu" else _BLOCK_GPU
    step = size - TAPS + 1
    total = torch.zeros(
        rows, 2 * rows, size // 2 + 1, dtype=torch.complex128, device=reference.device
    )
    # zeros behind the end, and behind a block of x
    x = torch.zeros(rows, size, dtype=torch.float64, device=reference.device)
    y = torch.zeros(2 * rows, size, dtype=torch.float64, device=reference.device)
    for start in range(0, length, step):
        stop, behind = min(start + step, length), min(start + size, length)
        x[:, : stop - start] = reference[:, start:stop]
        x[:, stop - start : step] = 0
        y[:rows, : behind - start] = reference[:, start:behind]
        y[rows:, : behind - start] = estimate[:, start:behind]
        y[:, behind - start :] = 0
        x_spectra, y_spectra = torch.fft.rfft(x).conj(), torch.fft.rfft(y)
        # row by row: what is added to stays in the cache
        for row in range(rows):
            total[row].addcmul_(x_spectra[row], y_spectra)
    lags: Tensor = torch.fft.irfft(total, n=size)[..., :TAPS]
    return lags


def _block_toeplitz(lags: Tensor) -> Tensor:
    """Return the Gram matrix [K L, K L] of delayed channels from their correlations [K, K, L].

    Entry ((i, l), (j, m)) is the product of channel i delayed by l and channel j delayed by m, the
    correlation at lag l - m; at a negative lag it is that of j and i.
    """
    rows = lags.shape[0]
    # the lags L - 1 ... -(L - 1); the window of L that starts at lag l is row l
    both = torch.cat([lags.flip(-1), lags.transpose(0, 1)[..., 1:]], dim=-1)
    gram = lags.new_empty(rows, TAPS, rows, TAPS)
    for channel in range(rows):
        windows = both[channel].unfold(-1, TAPS, 1).flip(1)  # [K, L, L]
        gram[channel] = rearrange(windows, "j l m -> l j m")
    return gram.view(rows * TAPS, rows * TAPS)


def _solve(gram: Tensor, cross: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the least squares filters, and the Cholesky factor where there is one.

    museval's regularisation (the spacing of float64 on the diagonal) and museval's way out of a
    singular matrix (the minimum norm solution).
    """
    gram = gram.clone()
    gram.diagonal().add_(torch.finfo(torch.float64).eps)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if not failed:
        return torch.cholesky_solve(cross, factor), factor
    solution, singular = torch.linalg.solve_ex(gram, cross)
    if singular or not solution.isfinite().all():
        solution = torch.linalg.lstsq(gram, cross, driver="gelsd").solution
    return solution, None


def _condition(gram: Tensor, factor: Tensor | None) -> float:
    """Estimate the 2-norm condition number by power iteration on the matrix and its inverse."""
    if factor is None:  # not even positive definite to working precision
        return float("inf")
    vector = torch.ones(gram.shape[0], 1, dtype=gram.dtype, device=gram.device)
    largest, smallest = vector, torch.linspace(-1, 1, gram.shape[0]).to(vector)[:, None]
    for _ in range(_ITERATIONS):
        largest = gram @ (largest / largest.norm())
        smallest = torch.cholesky_solve(smallest / smallest.norm(), factor)
    return float(largest.norm() * smallest.norm())


def _trial(
    reference: Tensor, estimate: Tensor, framing: Framing, lags: Tensor, projected: Tensor
) -> float:
    """Return by how many dB the ratios [3, S, frames] move when the references get some noise."""
    defined = (~projected.isnan()).all(dim=0).all(dim=0).nonzero().flatten().tolist()
    some = defined[:: -(-len(defined) // _TRIAL_FRAMES) or 1]
    if not some:
        return 0.0  # no frame has a score that could move
    filters = _fit_filters(lags, reference.shape[1], PERTURBATION)
    moved = _projected_ratios(reference, estimate, [framing[index] for index in some], filters)
    # of 100 dB and 200 dB both say that nothing is there
    before, after = (ratios.clamp(max=_NOTHING_DB) for ratios in (projected[..., some], moved))
    return float((after - before).abs().nan_to_num(0).max())


def _projected_ratios(
    reference: Tensor, estimate: Tensor, spans: Sequence[slice] | Framing, filters: _Filters
) -> Tensor:
    """Return ISR, SIR and SAR in dB, [3, S, frames], of frames of references and estimates.

    Every frame of [S, C, T] is split into its parts as spectra, where a filter is a product.
    """
    channels = reference.shape[1]
    size = _fast_length(max(span.stop - span.start for span in spans) + TAPS - 1)
    own_response = torch.fft.rfft(filters.own, n=size)  # [S, C, C, bins]
    every_response = torch.fft.rfft(filters.every, n=size)  # [K, K, bins]
    # memory that all frames share: taking and giving back some for each takes longer
    padded = torch.zeros(*reference.shape[:2], size, dtype=torch.float64, device=reference.device)
    own, every = (torch.empty_like(own_response[:, 0]) for _ in range(2))
    flat = every.flatten(0, 1)  # [K, bins], the same memory

    def spectra(audio: Tensor) -> Tensor:
        """Return [S, C, bins]."""
        padded[..., : audio.shape[-1]] = audio
        padded[..., audio.shape[-1] :] = 0
        found: Tensor = torch.fft.rfft(padded)
        return found

    frames = []
    for span in spans:
        target = spectra(reference[..., span])
        own.zero_()
        every.zero_()
        for channel in range(channels):
            own.addcmul_(target[:, channel, None], own_response[:, channel])
        for spectrum, response in zip(target.flatten(0, 1), every_response, strict=True):
            flat.addcmul_(spectrum, response)
        artefacts = spectra(estimate[..., span]).sub_(every)
        above = [_signal_energy(part, size) for part in (target, own, every)]
        # in place from here: the last use of each
        below = [
            _signal_energy(part, size) for part in (target.sub_(own), own.sub_(every), artefacts)
        ]
        silent = any_silent(reference[..., span]) or any_silent(estimate[..., span])
        frames.append(decibels(torch.stack(above), torch.stack(below), torch.tensor(silent)))
    return torch.stack(frames, dim=-1)


def _signal_energy(spectra: Tensor, size: int) -> Tensor:
    """Return the energy [S] of signals from their one-sided spectra [S, C, bins] (Parseval)."""
    parts = torch.view_as_real(spectra)
    # all bins stand for two but the first and (size is even) the last
    ends = parts[..., :: spectra.shape[-1] - 1, :]
    return (2 * energy(parts.flatten(-2)) - energy(ends.flatten(-2))) / size


def _fast_length(length: int) -> int:
    """Return the least even number of at least `length` whose prime factors are 2, 3 and 5."""
    odds: list[int] = [3**threes * 5**fives for threes in range(5) for fives in range(5)]
    return min(odd << max(1, (-(-length // odd) - 1).bit_length()) for odd in odds)
