"""One grid of chunks over a recording that arrives in blocks."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from mss.core.types import ChunkFn
from mss.infer.plan import Plan, window_weights


class Runner:
    """The chunk function, with a check of what it gives."""

    def __init__(self, chunk_fn: ChunkFn, plan: Plan) -> None:
        self._chunk_fn = chunk_fn
        self._plan = plan

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, rows, T] into [B, S, C, T]."""
        batch, _, frames = chunks.shape
        out = self._chunk_fn(chunks)
        expected = (batch, self._plan.sources, self._plan.channels, frames)
        assert out.shape == expected, f"the chunk function gave {tuple(out.shape)}, not {expected}"
        return out.to(chunks)


class WholeRecording:
    """segment=None: the recording is one chunk, so all of it is kept."""

    def __init__(self, run: Runner, plan: Plan, shift: int) -> None:
        """Args: the chunk function; the plan; samples of silence before the recording."""
        self._run = run
        self._plan = plan
        self._shift = shift
        self._blocks: list[Tensor] = []

    def feed(self, block: Tensor) -> Tensor:
        # a copy: a caller may reuse its block
        self._blocks.append(block.clone())
        return block.new_zeros(self._plan.sources, self._plan.channels, 0)

    def flush(self) -> Tensor:
        plan = self._plan
        blocks, self._blocks = self._blocks, []
        first = blocks[0] if blocks else torch.zeros(plan.rows, 0)
        recording = torch.cat([first.new_zeros(plan.rows, self._shift), *blocks], dim=-1)
        if recording.shape[-1] == self._shift:
            return first.new_zeros(plan.sources, plan.channels, 0)
        return self._run(recording[None])[0][..., self._shift :]


class Grid:
    """Chunks of `segment` samples every `stride`, `batch_size` of them at a time.

    Three buffers begin at the start of the next chunk to run and hold one batch's span: what came
    in (and, before it, as much of the past as lengthens a last chunk), and the weighted sum of the
    chunks and the sum of their weights so far. A batch completes the samples before the next
    batch's first chunk; they leave, and the buffers move up.
    """

    def __init__(self, run: Runner, plan: Plan, shift: int) -> None:
        """Args: the chunk function; the plan; samples by which the grid starts earlier."""
        assert plan.segment is not None
        assert plan.stride is not None
        self._run = run
        self._plan = plan
        self._segment = plan.segment
        self._stride = plan.stride
        self._batch = plan.batch_size
        self._span = plan.segment + (plan.batch_size - 1) * plan.stride
        self._past = (plan.segment - 1) // 2 if plan.tail == "centred" else 0
        # chunks that lie before the recording are left out
        skipped = max(0, (shift - plan.segment) // plan.stride + 1)
        self._first = skipped * plan.stride - shift
        self._start = self._first  # of the buffers, in samples of the recording
        self._filled = 0
        self._buffers: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def _allocate(self, block: Tensor) -> None:
        plan = self._plan
        inner = window_weights(plan.window, self._segment - 2 * plan.context)
        # a kept edge goes on with the weight that the window ends with
        edge = inner[:1].expand(plan.context)
        self._buffers = (
            block.new_zeros(plan.rows, self._past + self._span),
            block.new_zeros(plan.sources, plan.channels, self._span),
            block.new_zeros(self._span),
            torch.cat([edge, inner, edge]).to(block),
        )
        self._start = self._first
        self._filled = -self._first  # the zeros before the recording are there already

    def feed(self, block: Tensor) -> Tensor:
        if self._buffers is None:
            self._allocate(block)
        assert self._buffers is not None
        mix = self._buffers[0][:, self._past :]
        done: list[Tensor] = []
        taken = 0
        while taken < block.shape[-1]:
            count = min(self._span - self._filled, block.shape[-1] - taken)
            mix[:, self._filled : self._filled + count] = block[:, taken : taken + count]
            self._filled += count
            taken += count
            if self._filled == self._span:
                self._add_whole_chunks(self._batch)
                done.append(self._completed(self._batch * self._stride))
                self._move_up(self._batch * self._stride)
        if not done:
            return block.new_zeros(self._plan.sources, self._plan.channels, 0)
        return done[0] if len(done) == 1 else torch.cat(done, dim=-1)

    def flush(self) -> Tensor:
        if self._buffers is None:
            return torch.zeros(self._plan.sources, self._plan.channels, 0)
        if self._start + self._filled > 0:  # there is a recording
            whole = max(0, (self._filled - self._segment) // self._stride + 1)
            if whole:
                self._add_whole_chunks(whole)
            self._add_cut_chunks(whole * self._stride)
        result = self._completed(self._filled)
        self._buffers = None
        return result

    def _add_whole_chunks(self, count: int) -> None:
        """Separate the first `count` chunks of the buffer together and add them."""
        assert self._buffers is not None
        end = self._past + self._segment + (count - 1) * self._stride
        mix = self._buffers[0][:, self._past : end]
        chunks = rearrange(mix.unfold(-1, self._segment, self._stride), "c b t -> b c t")
        # a copy, so that a chunk function that works in place does not change the next chunk
        chunks = chunks.clone(memory_format=torch.contiguous_format)
        for index, chunk in enumerate(self._run(chunks)):
            self._add(index * self._stride, chunk)

    def _add_cut_chunks(self, first: int) -> None:
        """Separate and add the chunks from `first` in the buffer on: the end cuts them."""
        # one that would keep nothing is not run, unless it is the recording's only one
        only = first == 0 and self._start == self._first
        end = max(self._filled - self._plan.context, 1 if only else 0)
        starts = range(first, end, self._stride)
        if self._plan.tail == "short":
            for start in starts:
                self._add(start, self._run(self._heard(start, self._filled)[None])[0])
            return
        for index in range(0, len(starts), self._batch):
            batch = starts[index : index + self._batch]
            # half of what is missing on the left, rounded down, as demucs does
            lefts = [(self._segment - (self._filled - start)) // 2 for start in batch]
            chunks = torch.stack(
                [
                    self._heard(start - left, start - left + self._segment)
                    for start, left in zip(batch, lefts, strict=True)
                ]
            )
            for start, left, chunk in zip(batch, lefts, self._run(chunks), strict=True):
                self._add(start, chunk[..., left : left + self._filled - start])

    def _heard(self, start: int, end: int) -> Tensor:
        """Return a copy [rows, end - start] of what came in, with zeros after the recording."""
        assert self._buffers is not None
        heard = self._buffers[0][:, self._past + start : self._past + min(end, self._filled)]
        chunk = heard.new_zeros(heard.shape[0], end - start)
        chunk[:, : heard.shape[-1]] = heard
        return chunk

    def _add(self, start: int, chunk: Tensor) -> None:
        """Add what is kept of a separated chunk [S, C, T] at `start` in the buffers."""
        assert self._buffers is not None
        _, total, weight_sum, window = self._buffers
        context = self._plan.context
        low, high = context, chunk.shape[-1]
        if self._start + start == self._first:
            low = 0
        if high == self._segment:
            high -= context
        weights = window[low:high]
        total[..., start + low : start + high] += weights * chunk[..., low:high]
        weight_sum[start + low : start + high] += weights

    def _completed(self, count: int) -> Tensor:
        """Return the first `count` samples of the buffers [S, C, m], the recording's alone."""
        assert self._buffers is not None
        _, total, weight_sum, _ = self._buffers
        before = min(count, max(0, -self._start))
        return total[..., before:count] / weight_sum[before:count]

    def _move_up(self, count: int) -> None:
        """Let the buffers begin `count` samples later."""
        assert self._buffers is not None
        mix, total, weight_sum, _ = self._buffers
        for buffer, fresh in ((mix, False), (total, True), (weight_sum, True)):
            rest = buffer[..., count:].clone()
            buffer[..., : rest.shape[-1]] = rest
            if fresh:
                buffer[..., rest.shape[-1] :] = 0
        self._start += count
        self._filled -= count
