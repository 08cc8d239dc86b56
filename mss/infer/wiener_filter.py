"""Estimates refined by multichannel Wiener filtering of the mixture, chunk by chunk."""

from __future__ import annotations

from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.stft import Stft
from mss.core.types import ChunkFn
from mss.core.wiener import wiener


class WienerFilter:
    """Filters each chunk of the mixture with powers and covariances of a model's estimates.

    The estimates' magnitudes start the expectation maximisation of mss.core.wiener over the
    chunk's frames; the result's phase is the mixture's, filtered, as in Open-Unmix.

    Args:
        chunk_fn: [B, C, T] -> [B, S, C, T].
        iterations: of the filter, 1 or more.
        residual: let what the sources leave of the mixture be a source of its own, which is
            dropped. Without, the stems all but add up to the mixture.
        n_fft: samples of the Hann window.
        hop: samples between frames.

    Raises:
        ConfigError: iterations below 1, or a transform that cannot be undone.
    """

    def __init__(
        self,
        chunk_fn: ChunkFn,
        iterations: int = 1,
        residual: bool = False,
        n_fft: int = 4096,
        hop: int = 1024,
    ) -> None:
        if iterations < 1:
            raise ConfigError(f"wiener.iterations: {iterations} is not 1 or more")
        if not 1 <= hop <= n_fft // 2:
            raise ConfigError(f"wiener.hop: {hop} is not from 1 to half of n_fft = {n_fft}")
        self._chunk_fn = chunk_fn
        self._iterations = iterations
        self._residual = residual
        self._stft = Stft(n_fft, hop)

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, C, T] into [B, S, C, T]."""
        self._stft.to(chunks.device)
        mix = self._stft(chunks)  # [B, C, F, N], before the function may write to its input
        stems = self._chunk_fn(chunks)
        spec = wiener(
            self._stft(stems).abs(), mix, iterations=self._iterations, residual=self._residual
        )
        return self._stft.inverse(spec[:, : stems.shape[1]], chunks.shape[-1])
