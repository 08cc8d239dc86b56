"""Channel conversion and sample-rate conversion, for whole signals and for streams.

Resampling is band-limited interpolation (J. O. Smith, "Digital Audio Resampling Home Page", CCRMA)
with the filters of julius: a windowed sinc of 24 zero crossings on each side, cut at 0.945 of the
lower Nyquist frequency, edges extended by repeating the first and last sample. Filters come from
julius; they are applied here, because julius gets the length of long signals from float32 (wrong
past 2**24 samples) and works on whole signals only.
"""

import functools
import math
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from julius.resample import ResampleFrac

from mss.core.errors import DataError

# julius makes a dense table of new * (2 * width + old) weights, with old and new reduced by their
# common divisor: 0.1 MB for 44100 <-> 48000, 0.5 MB for 192000 -> 44100, but 7.8 GB for
# 44099 -> 44100. A ratio past this size is computed weight by weight instead (`_SparseSinc`).
MAX_TABLE_BYTES = 16 * 2**20

_ZEROS = 24  # zero crossings a side (julius' default)
_ROLLOFF = 0.945  # cut-off, as a share of the lower Nyquist frequency (julius' default)

_SQRT_HALF = math.sqrt(0.5)

# Weights (left, right) of each channel, in the order of WAVE files (and of FFmpeg), per ITU-R
# BS.775: centre and surrounds at -3 dB, the low-frequency channel left out.
_LEFT, _RIGHT, _CENTRE = (1.0, 0.0), (0.0, 1.0), (_SQRT_HALF, _SQRT_HALF)
_TO_LEFT, _TO_RIGHT = (_SQRT_HALF, 0.0), (0.0, _SQRT_HALF)
_LFE, _BACK_CENTRE = (0.0, 0.0), (0.5, 0.5)
_STEREO_DOWNMIX: dict[int, tuple[tuple[float, float], ...]] = {
    3: (_LEFT, _RIGHT, _CENTRE),
    4: (_LEFT, _RIGHT, _TO_LEFT, _TO_RIGHT),
    5: (_LEFT, _RIGHT, _CENTRE, _TO_LEFT, _TO_RIGHT),
    6: (_LEFT, _RIGHT, _CENTRE, _LFE, _TO_LEFT, _TO_RIGHT),
    7: (_LEFT, _RIGHT, _CENTRE, _LFE, _BACK_CENTRE, _TO_LEFT, _TO_RIGHT),
    8: (_LEFT, _RIGHT, _CENTRE, _LFE, _TO_LEFT, _TO_RIGHT, _TO_LEFT, _TO_RIGHT),
}


def convert_channels(audio: torch.Tensor, channels: int) -> torch.Tensor:
    """Convert `audio` to a number of channels.

    - equal: returned as it is;
    - mono to n: the one channel is repeated;
    - n to mono: the mean of the channels;
    - 3 to 8 channels to stereo: the down-mix of ITU-R BS.775 for the usual layouts (3.0, quad, 5.0,
      5.1, 6.1, 7.1), scaled so that full-scale channels can't exceed full scale.

    Shape:
        - audio: `[..., C, T]`
        - returns: `[..., channels, T]`

    Raises:
        DataError: no rule for this pair.
    """
    have = audio.shape[-2]
    if have == channels:
        return audio
    if have == 1 and channels > 1:
        return repeat(audio, "... 1 t -> ... c t", c=channels)
    if channels == 1 and have > 1:
        return audio.mean(dim=-2, keepdim=True)
    if channels == 2 and have in _STEREO_DOWNMIX:
        weights = audio.new_tensor(_STEREO_DOWNMIX[have])  # [C, 2]
        weights = weights / weights.sum(dim=0)
        return torch.einsum("...ct,cs->...st", audio, weights)
    raise DataError(
        f"no rule turns {have} channels into {channels}. Make a mono or stereo version of the file."
    )


def resampled_length(length: int, old_sr: int, new_sr: int) -> int:
    """Return `ceil(length * new_sr / old_sr)`, the exact length that `resample` gives.

    >>> resampled_length(44101, 44100, 48000)
    48002
    """
    return -(-length * new_sr // old_sr)


def resample(audio: torch.Tensor, old_sr: int, new_sr: int) -> torch.Tensor:
    """Resample `audio` from `old_sr` to `new_sr` (Hz).

    Every ratio works; one that reduces to large numbers (44099 to 44100, say) costs about a
    microsecond an output sample, since its filters are too many to be kept.

    Shape:
        - audio: `[..., T]`, floating point
        - returns: `[..., ceil(T * new_sr / old_sr)]`
    """
    if old_sr == new_sr:
        return audio
    shape = audio.shape
    if audio.numel() == 0:
        return audio.new_zeros(*shape[:-1], resampled_length(shape[-1], old_sr, new_sr))
    flat = audio.reshape(-1, shape[-1])
    stream = StreamResampler(old_sr, new_sr, flat.shape[0])
    resampled = torch.cat([stream.feed(flat), stream.flush()], dim=-1)
    return resampled.reshape(*shape[:-1], resampled.shape[-1])


class _Filter(Protocol):
    """Weights of one ratio. Absolute positions count from the first sample of the stream."""

    width: int  # input samples needed on either side of an output

    def ready(self, received: int) -> int:
        """Return how many outputs depend on the first `received` inputs only."""

    def first_input(self, output: int) -> int:
        """Return the position of the first input that the outputs from `output` on need."""

    def apply(self, audio: torch.Tensor, start: int, first: int, last: int) -> torch.Tensor:
        """Return outputs `[first, last)`; `audio` `[C, n]` begins at position `start`."""


class _TableSinc:
    """julius' table: output `k * new + i` is filter `i` against the inputs about `k * old`."""

    def __init__(self, old: int, new: int) -> None:
        resampler = ResampleFrac(old, new, zeros=_ZEROS, rolloff=_ROLLOFF)
        self._kernel = resampler.get_buffer("kernel")  # [new, 1, 2 * width + old]
        self.width = (self._kernel.shape[-1] - old) // 2
        self._old, self._new = old, new

    def ready(self, received: int) -> int:
        return max(0, (received - self.width) // self._old) * self._new

    def first_input(self, output: int) -> int:
        return output // self._new * self._old - self.width

    def apply(self, audio: torch.Tensor, start: int, first: int, last: int) -> torch.Tensor:
        assert first % self._new == 0, "outputs leave in whole blocks, the last one excepted"
        hops = -(-(last - first) // self._new)
        begin = self.first_input(first) - start
        window = audio[:, begin : begin + (hops - 1) * self._old + self._kernel.shape[-1]]
        outputs = F.conv1d(window[:, None], self._kernel.to(audio), stride=self._old)
        return rearrange(outputs, "c i k -> c (k i)")[:, : last - first]


class _SparseSinc:
    """The same filters, each weight computed when needed: for ratios whose table is too large."""

    _OUTPUTS = 8192  # computed at a time, which bounds memory

    def __init__(self, old: int, new: int) -> None:
        self._old, self._new = old, new
        self._cutoff = min(old, new) * _ROLLOFF / old  # in cycles per two input samples
        self.width = math.ceil(_ZEROS / self._cutoff) + 1

    def ready(self, received: int) -> int:
        return max(0, resampled_length(received - self.width, self._old, self._new))

    def first_input(self, output: int) -> int:
        return output * self._old // self._new - self.width

    def apply(self, audio: torch.Tensor, start: int, first: int, last: int) -> torch.Tensor:
        blocks = [
            self._block(audio, start, begin, min(begin + self._OUTPUTS, last))
            for begin in range(first, last, self._OUTPUTS)
        ]
        return torch.cat(blocks, dim=-1)

    def _block(self, audio: torch.Tensor, start: int, first: int, last: int) -> torch.Tensor:
        # Output j lies at j * old / new inputs: whole part and remainder as integers, so that
        # positions stay exact in hour-long streams.
        scaled = torch.arange(first, last, device=audio.device) * self._old  # [J]
        whole, remainder = scaled // self._new, scaled % self._new
        taps = torch.arange(-self.width, self.width + 1, device=audio.device)  # [W]
        distance = taps - (remainder.double() / self._new)[:, None]  # [J, W], in input samples
        phase = (distance * self._cutoff).clamp_(-_ZEROS, _ZEROS)
        weights = torch.sinc(phase) * torch.cos(phase * (math.pi / 2 / _ZEROS)) ** 2
        weights /= weights.sum(dim=-1, keepdim=True)  # a constant stays a constant, as in julius
        inputs = audio[:, (whole - start)[:, None] + taps]  # [C, J, W]
        return torch.einsum("cjw,jw->cj", inputs, weights.to(audio.dtype))


@functools.lru_cache(maxsize=16)
def _filter(old: int, new: int) -> _Filter:
    """Return the filter of a ratio in lowest terms."""
    width = _ZEROS * old / (min(old, new) * _ROLLOFF)
    table_bytes = 4 * new * (2 * width + old)
    return _TableSinc(old, new) if table_bytes <= MAX_TABLE_BYTES else _SparseSinc(old, new)


class StreamResampler:
    """Resample a stream block by block; the blocks joined equal `resample` of the whole.

    Memory is bounded by the block fed plus the filter's span, however long the stream.

    >>> stream = StreamResampler(44100, 48000, channels=2)
    >>> parts = [stream.feed(torch.zeros(2, n)) for n in (1000, 1, 43100)] + [stream.flush()]
    >>> sum(part.shape[-1] for part in parts)
    48002
    """

    def __init__(self, old_sr: int, new_sr: int, channels: int) -> None:
        """Args: rates in Hz; number of channels of every block."""
        if old_sr < 1 or new_sr < 1:
            raise DataError(f"sample rates must be positive, got {old_sr} and {new_sr} Hz.")
        common = math.gcd(old_sr, new_sr)
        self._old, self._new = old_sr // common, new_sr // common
        self._filter = None if self._old == self._new else _filter(self._old, self._new)
        self._channels = channels
        self._received = 0  # inputs so far
        self._sent = 0  # outputs so far
        self._kept: torch.Tensor | None = None  # inputs from position `_kept_start` on
        self._kept_start = 0
        self._flushed = False

    def feed(self, block: torch.Tensor) -> torch.Tensor:
        """Take the next inputs and return the outputs that are settled.

        Shape:
            - block: `[channels, n]`, any n
            - returns: `[channels, m]`, m may be 0
        """
        assert not self._flushed, "the stream was flushed; make a new StreamResampler"
        assert block.shape[:-1] == (self._channels,), tuple(block.shape)
        if self._filter is None or block.shape[-1] == 0:
            return block
        if self._kept is None:
            self._kept_start = -self._filter.width
            block_start = repeat(block[:, :1], "c 1 -> c w", w=self._filter.width)
            self._kept = torch.cat([block_start, block], dim=-1)
        else:
            self._kept = torch.cat([self._kept, block], dim=-1)
        self._received += block.shape[-1]
        return self._emit(self._filter.ready(self._received))

    def flush(self) -> torch.Tensor:
        """End the stream and return its last outputs `[channels, m]`."""
        assert not self._flushed, "the stream was flushed already"
        self._flushed = True
        if self._filter is None or self._kept is None:
            return torch.zeros(self._channels, 0)
        edge = repeat(self._kept[:, -1:], "c 1 -> c w", w=self._filter.width + self._old + 1)
        self._kept = torch.cat([self._kept, edge], dim=-1)
        outputs = self._emit(resampled_length(self._received, self._old, self._new))
        self._kept = None
        return outputs

    def _emit(self, last: int) -> torch.Tensor:
        """Compute outputs up to position `last` and forget the inputs no longer needed."""
        assert self._filter is not None
        assert self._kept is not None
        if last <= self._sent:
            return self._kept[:, :0]
        outputs = self._filter.apply(self._kept, self._kept_start, self._sent, last)
        self._sent = last
        keep_from = self._filter.first_input(last)
        self._kept = self._kept[:, max(0, keep_from - self._kept_start) :].clone()
        self._kept_start = max(self._kept_start, keep_from)
        return outputs
