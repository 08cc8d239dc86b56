"""Multichannel Wiener filtering of a mixture, given a magnitude spectrogram of each source.

Each source is modelled as a local Gaussian: at bin f and frame n its C channels have the covariance
v(n, f) R(f), a power times a spatial covariance. Both are estimated from the sources' current
estimates, the mixture is filtered again with them, and so on: Uhlich et al., ICASSP 2017, after
Duong et al., IEEE TASLP 18(7), 2010, and Nugraha et al., IEEE TASLP 24(9), 2016.

    v_j(n, f) = mean over channels of |y_j|^2
    R_j(f)    = sum_n y_j y_j^H / (eps + sum_n v_j)
    y_j       = v_j R_j (sum_k v_k R_k + sqrt(eps) I)^-1 x
"""

import torch
from einops import einsum, rearrange
from torch import Tensor

EPS = 1e-10
# The mixture is scaled down to this largest magnitude, to which EPS is relative.
LARGEST_MAGNITUDE = 10.0
# Bins that are filtered together.
_BINS = 128


def with_phase_of(magnitude: Tensor, mix: Tensor) -> Tensor:
    """Give real spectra [..., F, N] the phase of `mix` (0 where it is silent, or next to)."""
    size = mix.abs()
    silent = size < torch.finfo(size.dtype).tiny  # of a subnormal number the quotient overflows
    phase = torch.where(silent, torch.ones_like(mix), mix / size.masked_fill(silent, 1))
    # the product of a real and a complex tensor would first make the real one complex
    return torch.complex(magnitude * phase.real, magnitude * phase.imag)


def wiener(
    magnitudes: Tensor,
    mix: Tensor,
    iterations: int = 1,
    softmask: bool = False,
    residual: bool = False,
    window: int | None = 300,
    eps: float = EPS,
) -> Tensor:
    """Separate a mixture's spectrogram by iterated multichannel Wiener filtering.

    The filter is computed in double precision: a mixture that is nearly mono has a nearly singular
    covariance, whose inverse has no correct digit in single precision. Beside its
    result it holds one window's few bins of one item, whatever the length and the batch.

    Args:
        magnitudes: [B, S, C, F, N] real magnitudes of the sources.
        mix: [B, C, F, N] complex spectrogram of the mixture.
        iterations: times that powers and covariances are estimated and the mixture is filtered; 0
            returns the initial estimates.
        softmask: start from mix * m_j / sum_k m_k instead of m_j with the mixture's phase.
        residual: let what the sources leave of the mixture take part as one more source, the last.
        window: frames over which a spatial covariance is taken as constant; None: all.
        eps: see above.

    Returns:
        [B, S, C, F, N] complex, or S + 1 with `residual`.
    """
    if softmask:
        share = magnitudes / (eps + magnitudes.sum(dim=1, keepdim=True))
        estimates = share * mix[:, None]
    else:
        estimates = with_phase_of(magnitudes, mix[:, None])
    if residual:
        rest = mix[:, None] - estimates.sum(dim=1, keepdim=True)
        estimates = torch.cat([estimates, rest], dim=1)
    if iterations == 0:
        return estimates
    frames = mix.shape[-1]
    return torch.stack(
        [
            torch.cat(
                [
                    _refine(estimate, item, iterations, eps)
                    for estimate, item in zip(
                        item_estimates.split(window or frames, dim=-1),
                        item_mix.split(window or frames, dim=-1),
                        strict=True,
                    )
                ],
                dim=-1,
            )
            for item_estimates, item_mix in zip(estimates, mix, strict=True)
        ]
    )


def _refine(estimates: Tensor, mix: Tensor, iterations: int, eps: float) -> Tensor:
    """Iterate on one window of one item: [S, C, F, N], [C, F, N] -> [S, C, F, N]."""
    scale = (mix.abs().amax() / LARGEST_MAGNITUDE).clamp(min=1).double()
    # bins don't see each other: the double precision of a few at a time is all that is held
    blocks = zip(torch.split(estimates, _BINS, 2), torch.split(mix, _BINS, 1), strict=True)
    return torch.cat([_refine_bins(y, x, scale, iterations, eps) for y, x in blocks], dim=2)


def _refine_bins(
    estimates: Tensor, mix: Tensor, scale: Tensor, iterations: int, eps: float
) -> Tensor:
    """Iterate on some bins, [S, C, F, N], [C, F, N] -> [S, C, F, N], at a common scale."""
    # bins first: the covariances are sums over frames of each bin
    x = rearrange(mix.to(torch.complex128) / scale, "c f n -> f n c")
    y = rearrange(estimates.to(torch.complex128) / scale, "s c f n -> s f n c")
    for _ in range(iterations):
        y = _filter(y, x, eps)
    return rearrange(y * scale, "s f n c -> s c f n").to(estimates.dtype)


def _filter(y: Tensor, x: Tensor, eps: float) -> Tensor:
    """One iteration: estimates [S, F, N, C] and mixture [F, N, C] to new estimates."""
    power = (y.real.square() + y.imag.square()).mean(dim=-1)  # v, [S, F, N]
    spatial = y.mT @ y.conj()  # sum_n y y^H, [S, F, C, C]
    spatial = spatial / (eps + power.sum(dim=-1))[..., None, None]
    mixture = einsum(power.to(spatial.dtype), spatial, "s f n, s f c d -> f n c d")
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    whitened = _solve(mixture + eps**0.5 * identity, x)  # [F, N, C]
    return power[..., None] * (whitened @ spatial.mT)


def _solve(matrix: Tensor, x: Tensor) -> Tensor:
    """Solve matrix u = x for u; matrix [..., C, C], x [..., C]."""
    if x.shape[-1] == 1:
        return x / matrix[..., 0]
    if x.shape[-1] == 2:
        # Cramer's rule: a general solver is far slower on millions of tiny systems
        (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
        first, second = x.unbind(-1)
        return (
            torch.stack([d * first - b * second, a * second - c * first], -1)
            / ((a * d - b * c)[..., None])
        )
    solution: Tensor = torch.linalg.solve(matrix, x)
    return solution
