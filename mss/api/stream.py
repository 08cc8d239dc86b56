"""The session that `mss.Separator.stream` gives: an engine's, which checks what it is fed."""

from __future__ import annotations

from torch import Tensor

from mss.api.arrays import to_tensor
from mss.core.errors import DataError, StemgridError
from mss.infer.engine import Session


class StreamSession:
    """Separates one recording, block by block; what comes out is as long as what went in.

    Args:
        session: of an engine.
        channels: of the recording.

    Attributes:
        channels: of the recording, and of every stem.
    """

    def __init__(self, session: Session, channels: int) -> None:
        self.channels = channels
        self._session: Session | None = session
        self._latency = session.latency

    @property
    def latency(self) -> int | None:
        """Fewer samples of the recording than this are held back; None: all, until `flush`."""
        return self._latency

    def feed(self, block: Tensor) -> Tensor:
        """Take in the next samples and return those that are done.

        Shape:
            - block: [C, n], n >= 0, of any floating-point type; full scale 1.0
            - output: [S, C, m] float32

        Raises:
            DataError: other channels than announced, no floating-point numbers, or not finite.
            StemgridError: the session has ended.
        """
        session = self._open()
        checked = to_tensor(block, "block")
        if len(checked) != self.channels:
            raise DataError(
                f"block: is of {len(checked)} channels, the session of {self.channels}; give "
                f"[{self.channels}, samples]"
            )
        return session.feed(checked)

    def flush(self) -> Tensor:
        """End the recording and the session: return the remaining samples [S, C, m].

        Raises:
            StemgridError: it has ended before.
        """
        session = self._open()
        self._session = None
        return session.flush()

    def _open(self) -> Session:
        if self._session is None:
            raise StemgridError(
                "this session has ended with its flush(); make a new session with stream() for "
                "another recording"
            )
        return self._session
