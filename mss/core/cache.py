"""Where Stemgrid keeps what it can make again."""

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "STEMGRID_CACHE"


def cache_root() -> Path:
    """Return the folder for everything that may be deleted at any time. It is not created.

    $STEMGRID_CACHE where it is set (and not empty), else the user's cache folder of the platform.
    """
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("stemgrid", appauthor=False))
