"""The one overlap-add: chunks of a recording in, the whole recording's sources out."""

from __future__ import annotations

import torch
from torch import Tensor

from mss.core.types import ChunkFn
from mss.infer.aligned import Aligned
from mss.infer.grid import Grid, Runner, WholeRecording
from mss.infer.plan import Plan


class Streamer:
    """Separates a recording that arrives in blocks of any size, in memory that does not grow.

    The chunks and the batches of chunks depend on the recording's length only, not on how it was
    cut into blocks: feeding it sample by sample or all at once gives the same bits. What comes
    out of all `feed` calls and the final `flush` is exactly as long as what went in.

    Weighted overlap-add: y[t] = sum_k w[t - o_k] chunk_k[t - o_k] / sum_k w[t - o_k] over the
    chunks k that keep sample t and start at o_k. With shifts, y is the mean over as many grids.

    Args:
        chunk_fn: [B, C, T] -> [B, S, C, T]. Each batch holds chunks of one length; where the
            plan's tail is "short", the shorter ones at the end of a recording come alone.
        plan: the grid, or the grids.
    """

    def __init__(self, chunk_fn: ChunkFn, plan: Plan) -> None:
        self.plan = plan
        run = Runner(chunk_fn, plan)
        kind = WholeRecording if plan.segment is None else Grid
        self._grids = [kind(run, plan, shift) for shift in plan.shifts or (0,)]
        self._aligned = Aligned(len(self._grids))

    @property
    def latency(self) -> int | None:
        """Fewer samples than this are held back at any time; None: all are, until `flush`."""
        return self.plan.latency

    def feed(self, block: Tensor) -> Tensor:
        """Take in the next samples [C, n], n >= 0, and return those that are done, [S, C, m].

        The first block's device and dtype are those of the work and of the results.
        """
        assert block.ndim == 2, f"a block is [C, n], not {tuple(block.shape)}"
        assert block.shape[0] == self.plan.rows, (
            f"a block of {block.shape[0]} channels for a model of {self.plan.rows}"
        )
        return self._mean([grid.feed(block) for grid in self._grids])

    def flush(self) -> Tensor:
        """End the recording: return its remaining samples [S, C, m].

        The Streamer is then ready for another recording.
        """
        return self._mean([grid.flush() for grid in self._grids])

    def _mean(self, parts: list[Tensor]) -> Tensor:
        """Return the mean over the grids [S, C, m] of the samples that all of them have done."""
        if len(parts) == 1:
            return parts[0]
        parts = self._aligned.take(parts)
        return torch.stack(parts).mean(dim=0)
