"""How long an epoch took, over a kill in the middle of it."""

import time


class Clock:
    """Seconds that an epoch took so far, over all processes that worked on it."""

    def __init__(self, seconds: float = 0.0, data_wait: float = 0.0) -> None:
        self.seconds = seconds
        self.data_wait = data_wait
        self._last = time.monotonic()

    def tick(self, waiting: bool = False) -> None:
        """Count the time since the tick before: waiting for data, or not."""
        now = time.monotonic()
        self.seconds += now - self._last
        if waiting:
            self.data_wait += now - self._last
        self._last = now

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds, "data_wait": self.data_wait}
