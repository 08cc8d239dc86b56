"""The one overlap-add: chunks of a recording in, the whole recording's sources out."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from mss.core.types import ChunkFn
from mss.infer.plan import Plan, window_weights


class Streamer:
    """Separates a recording that arrives in blocks of any size, in memory that does not grow.

    The chunks and the batches of chunks depend on the recording's length only, not on how it was
    cut into blocks: feeding it sample by sample or all at once gives the same bits. What comes
    out of all `feed` calls and the final `flush` is exactly as long as what went in.

    Weighted overlap-add: y[t] = sum_k w[t - o_k] chunk_k[t - o_k] / sum_k w[t - o_k] over the
    chunks k that cover sample t and start at o_k.

    Args:
        chunk_fn: [B, C, T] -> [B, S, C, T]. Each batch holds chunks of one length; the shorter
            ones at the end of a recording come alone.
        plan: the grid.
    """

    def __init__(self, chunk_fn: ChunkFn, plan: Plan) -> None:
        self.plan = plan
        run = _Runner(chunk_fn, plan)
        self._grid = _WholeRecording(run, plan) if plan.segment is None else _Grid(run, plan)

    @property
    def latency(self) -> int | None:
        """Fewer samples than this are held back at any time; None: all are, until `flush`."""
        return self.plan.latency

    def feed(self, block: Tensor) -> Tensor:
        """Take in the next samples [C, n], n >= 0, and return those that are done, [S, C, m].

        The first block's device and dtype are those of the work and of the results.
        """
        assert block.ndim == 2, f"a block is [C, n], not {tuple(block.shape)}"
        assert block.shape[0] == self.plan.channels, (
            f"a block of {block.shape[0]} channels for a model of {self.plan.channels}"
        )
        return self._grid.feed(block)

    def flush(self) -> Tensor:
        """End the recording: return its remaining samples [S, C, m].

        The Streamer is then ready for another recording.
        """
        return self._grid.flush()


class _Runner:
    """The chunk function, with a check of what it gives."""

    def __init__(self, chunk_fn: ChunkFn, plan: Plan) -> None:
        self._chunk_fn = chunk_fn
        self._plan = plan

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, C, T] into [B, S, C, T]."""
        batch, channels, frames = chunks.shape
        out = self._chunk_fn(chunks)
        expected = (batch, self._plan.sources, channels, frames)
        assert out.shape == expected, f"the chunk function gave {tuple(out.shape)}, not {expected}"
        return out.to(chunks)


class _WholeRecording:
    """segment=None: the recording is one chunk, so all of it is kept."""

    def __init__(self, run: _Runner, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self._blocks: list[Tensor] = []

    def feed(self, block: Tensor) -> Tensor:
        # a copy: a caller may reuse its block
        self._blocks.append(block.clone())
        return block.new_zeros(self._plan.sources, self._plan.channels, 0)

    def flush(self) -> Tensor:
        plan = self._plan
        blocks, self._blocks = self._blocks, []
        recording = torch.cat(blocks, dim=-1) if blocks else torch.zeros(plan.channels, 0)
        if recording.shape[-1] == 0:
            return recording.new_zeros(plan.sources, plan.channels, 0)
        return self._run(recording[None])[0]


class _Grid:
    """Chunks of `segment` samples every `stride`, `batch_size` of them at a time.

    Three buffers of one batch's span begin at the start of the next chunk to run: what came in,
    and the weighted sum of the chunks and the sum of their weights so far. A batch completes the
    samples before the next batch's first chunk; they leave, and the buffers move up.
    """

    def __init__(self, run: _Runner, plan: Plan) -> None:
        assert plan.segment is not None
        assert plan.stride is not None
        self._run = run
        self._plan = plan
        self._segment = plan.segment
        self._stride = plan.stride
        self._batch = plan.batch_size
        self._span = plan.segment + (plan.batch_size - 1) * plan.stride
        self._buffers: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._filled = 0

    def _allocate(self, block: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        plan = self._plan
        if self._buffers is None:
            self._buffers = (
                block.new_zeros(plan.channels, self._span),
                block.new_zeros(plan.sources, plan.channels, self._span),
                block.new_zeros(self._span),
                window_weights(plan.window, self._segment).to(block),
            )
        return self._buffers

    def feed(self, block: Tensor) -> Tensor:
        mix, *_ = self._allocate(block)
        done: list[Tensor] = []
        taken = 0
        while taken < block.shape[-1]:
            count = min(self._span - self._filled, block.shape[-1] - taken)
            mix[:, self._filled : self._filled + count] = block[:, taken : taken + count]
            self._filled += count
            taken += count
            if self._filled == self._span:
                self._add_full_chunks(self._batch)
                done.append(self._leave(self._batch * self._stride))
        if not done:
            return block.new_zeros(self._plan.sources, self._plan.channels, 0)
        return done[0] if len(done) == 1 else torch.cat(done, dim=-1)

    def flush(self) -> Tensor:
        if self._buffers is None:
            return torch.zeros(self._plan.sources, self._plan.channels, 0)
        mix, *_ = self._buffers
        full = max(0, (self._filled - self._segment) // self._stride + 1)
        if full:
            self._add_full_chunks(full)
        for start in range(full * self._stride, self._filled, self._stride):
            short = mix[None, :, start : self._filled].clone()
            self._add(start, self._run(short)[0])
        result = self._leave(self._filled)
        self._buffers = None
        return result

    def _add_full_chunks(self, count: int) -> None:
        """Separate the first `count` chunks of the buffer together and add them."""
        assert self._buffers is not None
        mix = self._buffers[0][:, : self._segment + (count - 1) * self._stride]
        chunks = rearrange(mix.unfold(-1, self._segment, self._stride), "c b t -> b c t")
        # a copy, so that a chunk function that works in place does not change the next chunk
        chunks = chunks.clone(memory_format=torch.contiguous_format)
        for index, chunk in enumerate(self._run(chunks)):
            self._add(index * self._stride, chunk)

    def _add(self, start: int, chunk: Tensor) -> None:
        """Add a separated chunk [S, C, T] at `start` in the buffers."""
        assert self._buffers is not None
        _, total, weight_sum, window = self._buffers
        weights = window[: chunk.shape[-1]]
        total[..., start : start + chunk.shape[-1]] += weights * chunk
        weight_sum[start : start + chunk.shape[-1]] += weights

    def _leave(self, count: int) -> Tensor:
        """Return the first `count` samples [S, C, count] and move the buffers up."""
        assert self._buffers is not None
        mix, total, weight_sum, _ = self._buffers
        result = total[..., :count] / weight_sum[:count]
        for buffer, fresh in ((mix, False), (total, True), (weight_sum, True)):
            rest = buffer[..., count:].clone()
            buffer[..., : rest.shape[-1]] = rest
            if fresh:
                buffer[..., rest.shape[-1] :] = 0
        self._filled -= count
        return result
