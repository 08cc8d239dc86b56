"""A training that went wrong: the message names the cause, a file keeps the batch."""

from mss.core.errors import StemgridError


class TrainingError(StemgridError):
    """The loss is not finite, exactly zero, or there is nothing to validate on."""


class GradientError(TrainingError):
    """The gradient is not finite; the weights are as they were before this update."""
