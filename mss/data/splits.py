"""Which training songs validate, where a data set does not say."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence

from mss.core.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

# One in ten, at least one: MUSDB18 holds out 14 of 100.
_SHARE = 10


def hold_out(contents: Mapping[str, Sequence[str]], count: int | None) -> frozenset[str]:
    """Choose validation songs among training songs by their content.

    Songs are ranked by the hash of their files' hashes and the first ones are held out: the choice
    is as good as a random one, and renaming, moving or copying the data does not change it. It
    differs from a seeded shuffle in that an added song moves at most one other song.

    Args:
        contents: content hashes of the files of each song, by name.
        count: songs to hold out; None: one in ten, at least one.

    Raises:
        DataError: fewer than two songs, so that nothing would be left to train on.
        ConfigError: `count` leaves nothing to train on, or is not positive.
    """
    if len(contents) < 2:
        raise DataError(
            f"{len(contents)} training track and no valid/ folder: nothing is left to validate on."
            " Add a track to train/, or put validation tracks in valid/NAME/"
        )
    if count is None:
        count = math.ceil(len(contents) / _SHARE)
    if not 1 <= count < len(contents):
        raise ConfigError(
            f"dset.valid_tracks: {count} of {len(contents)} training tracks can't be held out;"
            f" give 1 to {len(contents) - 1}"
        )

    def rank(name: str) -> tuple[str, str]:
        joined = "\n".join(sorted(contents[name]))
        return hashlib.sha256(joined.encode()).hexdigest(), name

    chosen = frozenset(sorted(contents, key=rank)[:count])
    logger.info(
        "No valid/ folder: %d of %d training tracks validate instead, chosen by content: %s",
        count,
        len(contents),
        ", ".join(sorted(chosen)),
    )
    return chosen
