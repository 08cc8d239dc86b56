"""The mean over a chunk and its mirror images: swapped channels, turned polarity."""

from __future__ import annotations

from torch import Tensor

from mss.core.types import ChunkFn


class Flips:
    """A chunk function that is as blind to left and right, and to polarity, as music is.

    With f the chunk function, the mean over f(x); swap(f(swap x)); -f(-x); -swap(f(-swap x)), or
    over those of them that are asked for. Each is a run of its own on the same batch. A chunk of
    one channel has nothing to swap, and is not run for it.

    Args:
        chunk_fn: [B, C, T] -> [B, S, C, T].
        swap: average over the order of the channels and its reverse.
        polarity: average over both signs.
    """

    def __init__(self, chunk_fn: ChunkFn, swap: bool = True, polarity: bool = True) -> None:
        self._chunk_fn = chunk_fn
        self._swap = swap
        self._polarity = polarity

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, C, T] into [B, S, C, T]."""
        swaps = (False, True) if self._swap and chunks.shape[-2] > 1 else (False,)
        signs = (1, -1) if self._polarity else (1,)
        parts = [self._image(chunks, swap, sign) for swap in swaps for sign in signs]
        return sum(parts[1:], start=parts[0]) / len(parts)

    def _image(self, chunks: Tensor, swap: bool, sign: int) -> Tensor:
        """Return the estimate of one mirror image, turned back."""
        # a copy each: the function may work in place
        image = chunks.flip(-2) if swap else chunks.clone()
        stems = self._chunk_fn(sign * image)
        return sign * (stems.flip(-2) if swap else stems)
