"""A recording at its own sample rate and channels through a model that wants others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from mss.core.audio import StreamResampler, convert_channels
from mss.core.normalise import Normalisation
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.plan import make_plan
from mss.infer.streamer import Streamer


class ModelInput:
    """Brings blocks [C, n] of a recording to a model's channels and sample rate."""

    def __init__(self, spec: AudioSpec, samplerate: int) -> None:
        """Args: the model's spec; the recording's sample rate, Hz."""
        self._channels = spec.channels
        self._resampler = StreamResampler(samplerate, spec.samplerate, spec.channels)

    def feed(self, block: Tensor) -> Tensor:
        """Take in the next samples [any C, n] and return those that are done, [spec C, m]."""
        return self._resampler.feed(convert_channels(block, self._channels))

    def flush(self) -> Tensor:
        """End the recording: return its remaining samples [spec C, m]."""
        return self._resampler.flush()


class StreamingSession:
    """Separates one recording, block by block, at its own sample rate and channels.

    What comes out of all `feed` calls and `flush` is exactly as long as what went in. Memory is
    that of the Streamer and of two resampling filters, however long the recording.

    Args:
        chunk_fn, spec, inference, batch_size: as in mss.infer.separate.separate.
        samplerate: Hz of the recording.
        channels: of the recording. Stems have as many where it is mono or stereo (the mean or the
            repetition of the model's, where that gives others); of a recording with more
            channels, which is mixed down, they have the model's. (mss.infer.groups keeps them.)
        normalisation: of the whole recording, as the model sees it; `inference.normalise` says
            which. It has to be known before the first block.
        shifts: as in mss.infer.separate.separate, in samples of the model's rate.

    Attributes:
        channels: of the stems.
    """

    def __init__(
        self,
        chunk_fn: ChunkFn,
        spec: AudioSpec,
        inference: InferenceDefaults,
        samplerate: int,
        channels: int,
        normalisation: Normalisation | None = None,
        batch_size: int = 1,
        shifts: Sequence[int] = (),
    ) -> None:
        self.channels = channels if channels <= 2 else spec.channels
        self._spec = spec
        self._samplerate = samplerate
        self._normalisation = normalisation or Normalisation()
        self._input = ModelInput(spec, samplerate)
        self._streamer = Streamer(chunk_fn, make_plan(spec, inference, batch_size, shifts=shifts))
        self._output = StreamResampler(
            spec.samplerate, samplerate, len(spec.sources) * self.channels
        )
        self._fed = 0
        self._done = 0

    @property
    def latency(self) -> int | None:
        """Fewer samples of the recording than this are held back; None: all, until `flush`."""
        model = self._streamer.latency
        if model is None:
            return None
        inside = model + _longest_wait(self._spec.samplerate, self._samplerate)
        outside = math.ceil(inside * self._samplerate / self._spec.samplerate)
        return outside + _longest_wait(self._samplerate, self._spec.samplerate)

    def feed(self, block: Tensor) -> Tensor:
        """Take in the next samples [C, n] and return those that are done, [S, channels, m]."""
        self._fed += block.shape[-1]
        return self._take(self._output.feed(self._separate(self._input.feed(block))))

    def flush(self) -> Tensor:
        """End the recording: return its remaining samples [S, channels, m]."""
        parts = [
            self._output.feed(self._separate(self._input.flush())),
            self._output.feed(self._stems(self._streamer.flush())),
            self._output.flush(),
        ]
        # Both resamplers round lengths up, so what comes out is never shorter than what went in.
        rest = self._take(torch.cat(parts, dim=-1))
        assert self._done == self._fed
        return rest

    def _separate(self, mix: Tensor) -> Tensor:
        return self._stems(self._streamer.feed(self._normalisation.apply(mix)))

    def _stems(self, stems: Tensor) -> Tensor:
        """Undo the normalisation of stems [S, C, m]; return them as [S * channels, m]."""
        stems = convert_channels(self._normalisation.undo(stems), self.channels)
        return rearrange(stems, "s c m -> (s c) m")

    def _take(self, rows: Tensor) -> Tensor:
        """Return rows [S * channels, m] as [S, channels, m], cut at the recording's length."""
        rows = rows[:, : self._fed - self._done]
        self._done += rows.shape[-1]
        return rearrange(rows, "(s c) m -> s c m", c=self.channels)


def _longest_wait(old: int, new: int) -> int:
    """Return a bound on the samples at `old` Hz that a StreamResampler to `new` Hz holds back.

    Its filters reach over 26 zero crossings, and its outputs leave in blocks of one period of the
    two rates.
    """
    if old == new:
        return 0
    return old // math.gcd(old, new) + math.ceil(26 * max(1.0, old / new)) + 2
