"""Names of the folders that songs' stems go to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mss.core.errors import ConfigError


def song_name(path: Path) -> str:
    """Return a file's name without its ending, or all of it where only dots would be left.

    >>> song_name(Path("albums/song.wav")), song_name(Path("...wav"))
    ('song', '...wav')
    """
    return path.stem if path.stem.strip(".") else path.name


def song_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the name of each song's folder; no two are equal, whatever the file system's case.

    A file's name without its ending; where that is another's too, with its ending; where that is,
    too, the name of its folder before it ("album - 01.flac"). A file given twice counts once.

    Raises:
        ConfigError: two files are left with one name.
    """
    first_mention = {path.resolve(): path for path in reversed(paths)}
    unique = [path for path in dict.fromkeys(paths) if first_mention[path.resolve()] is path]
    styles: list[Callable[[Path], str]] = [
        song_name,
        lambda path: path.name,
        lambda path: f"{path.resolve().parent.name} - {path.name}",
    ]
    names: dict[Path, str] = {}
    for style in styles:
        proposed = {path: style(path) for path in unique if path not in names}
        count = Counter(name.casefold() for name in [*names.values(), *proposed.values()])
        names |= {path: name for path, name in proposed.items() if count[name.casefold()] == 1}
    for path in unique:
        if path not in names:
            raise ConfigError(
                f"{path}: another file is called {path.name} in a folder of the same name; "
                "separate them in two calls, with another -o"
            )
    return {path: names[path] for path in unique}
