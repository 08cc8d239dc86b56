"""A name for what a released model, or a bag of them, computes."""

from __future__ import annotations

import hashlib
import json

from mss.infer.backends.store import model_digest
from mss.release.repo import Release


def release_digest(release: Release) -> str:
    """Return a hash of the members, their weights and the way they are run; no name is in it."""
    parts = [
        [model_digest(member) for member in release.members],
        release.weights,
        str(release.inference),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
