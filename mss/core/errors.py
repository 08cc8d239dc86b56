"""Errors that tell a user what to change.

Every message names the key or the file, says what is wrong with it and what to do. The command line
prints the message alone, without a traceback.
"""

import difflib
from collections.abc import Iterable


class StemgridError(Exception):
    """Base of all errors that are the input's fault, not the program's."""


class ConfigError(StemgridError):
    """A configuration key, option or name is wrong."""


class DataError(StemgridError):
    """A file or a folder is missing, damaged or not what was asked for."""


def nearest_name_hint(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, else the list of known names.

    >>> nearest_name_hint("hiden", ["hidden", "depth"])
    " Did you mean 'hidden'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(names) or '(none)'}."
