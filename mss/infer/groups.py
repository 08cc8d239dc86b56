"""Recordings of more channels than a model takes: pairs of them, separated one beside the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mss.core.errors import DataError
from mss.infer.aligned import Aligned
from mss.infer.session import StreamingSession

Group = tuple[int, ...]

# Channels in the order of WAVE files: left, right, centre, low frequencies, then the surrounds.
_LAYOUTS: dict[int, tuple[Group, ...]] = {
    3: ((0, 1), (2,)),  # 3.0
    4: ((0, 1), (2, 3)),  # quad
    5: ((0, 1), (2,), (3, 4)),  # 5.0
    6: ((0, 1), (2,), (3,), (4, 5)),  # 5.1
    7: ((0, 1), (2,), (3,), (4,), (5, 6)),  # 6.1: the back centre before the sides
    8: ((0, 1), (2,), (3,), (4, 5), (6, 7)),  # 7.1
}


def channel_groups(channels: int, model_channels: int) -> tuple[Group, ...]:
    """Return which channels of a recording are separated together, in ascending order.

    Mono, stereo and whatever the model itself takes are one group. Of more channels, left and
    right, and each pair of surrounds, are a stereo signal; centres and low frequencies are mono.

    Raises:
        DataError: no usual layout has that many channels.
    """
    if channels <= 2 or channels == model_channels:
        return (tuple(range(channels)),)
    if channels not in _LAYOUTS:
        raise DataError(
            f"no rule says which of {channels} channels belong together (known: 1 to "
            f"{max(_LAYOUTS)}). Make a file of fewer channels."
        )
    return _LAYOUTS[channels]


class GroupedSession:
    """The sessions of a recording's groups of channels, as one.

    Args:
        groups: see channel_groups; together all channels, in their order.
        sessions: one a group, for as many channels as that has.

    Attributes:
        channels: of the recording and of every stem.
    """

    def __init__(self, groups: Sequence[Group], sessions: Sequence[StreamingSession]) -> None:
        self.channels = sum(len(group) for group in groups)
        self._members = list(zip(groups, sessions, strict=True))
        self._aligned = Aligned(len(self._members))

    @property
    def latency(self) -> int | None:
        """Fewer samples of the recording than this are held back; None: all, until `flush`."""
        return self._members[0][1].latency  # one model, one sample rate

    def feed(self, block: Tensor) -> Tensor:
        """Take in the next samples [C, n] and return those that are done, [S, channels, m]."""
        return self._join([session.feed(block[list(group)]) for group, session in self._members])

    def flush(self) -> Tensor:
        """End the recording: return its remaining samples [S, channels, m]."""
        return self._join([session.flush() for _, session in self._members])

    def _join(self, stems: list[Tensor]) -> Tensor:
        return torch.cat(self._aligned.take(stems), dim=1)
