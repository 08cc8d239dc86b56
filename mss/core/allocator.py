"""How the C library's allocator treats the large tensors of a training on a CPU."""

from __future__ import annotations

import ctypes
import logging
import sys

logger = logging.getLogger(__name__)

# <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER_TRIM = (1 << 31) - 1  # the largest value of an int
_TOP_PAD = 64 << 20


def keep_freed_memory() -> bool:
    """Let this process, and those it forks, keep the memory that it frees for what comes next.

    glibc takes every large tensor from the system and gives it back, page by page, so each update
    of a small model on a CPU pays for hundreds of thousands of page faults: a third of its time.
    The peak is what it was; what was the peak stays.

    Returns:
        Whether this C library knows how.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    settings = (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER_TRIM), (_M_TOP_PAD, _TOP_PAD)
    known = [bool(mallopt(name, value)) for name, value in settings]
    logger.debug("mallopt: %s", known)
    return all(known)
