"""Weighted running means of named values, which survive a checkpoint in the middle of an epoch."""

from collections.abc import Mapping


class Averages:
    """Weighted means of what `update` was given."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def update(self, values: Mapping[str, float], weight: float = 1.0) -> None:
        """Take in one observation of each value."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (total + weight * value, count + weight)

    def means(self) -> dict[str, float]:
        """Return the mean of each value."""
        return {name: total / count for name, (total, count) in self._sums.items() if count > 0}

    def state_dict(self) -> dict[str, list[float]]:
        return {name: [total, count] for name, (total, count) in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        self._sums = {name: (total, count) for name, (total, count) in state.items()}
