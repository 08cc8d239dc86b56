"""What songs are called in the output folder, and where their files lie."""

from __future__ import annotations

import os
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from mss.core.errors import ConfigError, nearest_name_hint

DEFAULT_TEMPLATE = "{song}/{stem}.{ext}"
FIELDS = ("song", "stem", "ext", "model", "folder")


@dataclass(frozen=True)
class Song:
    """A recording to separate.

    Attributes:
        path: the file.
        folder: where it lies beneath the folder that was asked for, with "/"; "" where it lies in
            it, or was named itself.
        from_folder: whether it was found in a folder.
    """

    path: Path
    folder: str = ""
    from_folder: bool = False


def song_name(path: Path) -> str:
    """Return a file's name without its ending, or all of it where only dots would be left.

    >>> song_name(Path("albums/song.wav")), song_name(Path("...wav"))
    ('song', '...wav')
    """
    return path.stem if path.stem.strip(".") else path.name


def song_names(songs: Iterable[Song]) -> dict[Song, str]:
    """Return what each song is called; no two are equal, whatever the file system's case.

    A file's name without its ending. Where that is another's too, with its ending; then the folder
    is put before it ("disc 1/01"): beneath the folder that was asked for, and where even that is
    not enough, beneath the folder that all songs have in common. A file given twice counts once.

    Raises:
        ConfigError: two files are left with one name.
    """
    unique = _unique(songs)
    root = _common_folder([song.path for song in unique])
    styles: list[Callable[[Song], str]] = [
        lambda song: song_name(song.path),
        lambda song: song.path.name,
        lambda song: _joined(song.folder or _beneath(song, root), song_name(song.path)),
        lambda song: _joined(song.folder or _beneath(song, root), song.path.name),
        lambda song: _joined(_beneath(song, root), song_name(song.path)),
        lambda song: _joined(_beneath(song, root), song.path.name),
    ]
    names: dict[Song, str] = {}
    for style in styles:
        proposed = {song: style(song) for song in unique if song not in names}
        count = Counter(name.casefold() for name in [*names.values(), *proposed.values()])
        names |= {song: name for song, name in proposed.items() if count[name.casefold()] == 1}
    for song in unique:
        if song not in names:
            raise ConfigError(
                f"{song.path}: another file's name differs from it in upper and lower case only; "
                "separate them in two calls, with another -o"
            )
    return {song: names[song] for song in unique}


def file_key(path: str | os.PathLike[str]) -> str:
    """Return what is equal for two paths of one file, by whatever links; of none, its own path."""
    real = os.path.realpath(path)
    return real if os.path.exists(real) else os.path.abspath(path)


@dataclass(frozen=True)
class NameTemplate:
    """Where a song's files go, beneath the output folder.

    >>> NameTemplate("{folder}/{song} ({stem}).{ext}").place("one", "bass", "wav", folder="a/b")
    PosixPath('a/b/one (bass).wav')

    Args:
        text: a path with "/" between folders, of {song}, {stem}, {ext}, {model} and {folder}.

    Raises:
        ConfigError: another field, an absolute path, "..", or no {ext} at the end.
    """

    text: str = DEFAULT_TEMPLATE

    def __post_init__(self) -> None:
        try:
            parsed = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise ConfigError(
                f"name template {self.text!r}: {error}; a field is {{song}}"
            ) from error
        for _, field, spec, conversion in parsed:
            if field is None:
                continue
            if field not in FIELDS:
                raise ConfigError(
                    f"name template {self.text!r}: there is no {{{field}}}."
                    f"{nearest_name_hint(field, FIELDS)}"
                )
            if spec or conversion:
                raise ConfigError(
                    f"name template {self.text!r}: {{{field}}} takes no format; write {{{field}}}"
                )
        if not self.text.endswith(".{ext}"):
            raise ConfigError(f"name template {self.text!r}: must end in .{{ext}}")
        # on any system: what is written here may be read on another
        rooted = PurePosixPath(self.text).is_absolute() or PureWindowsPath(self.text).anchor
        if rooted or ".." in self.text.replace("\\", "/").split("/"):
            raise ConfigError(
                f"name template {self.text!r}: leads out of the output folder; choose that with -o"
            )

    def place(self, song: str, stem: str, ext: str, model: str = "", folder: str = "") -> Path:
        """Return a file's path beneath the output folder; empty folders are left out.

        Raises:
            ConfigError: it would lie outside.
        """
        filled = self.text.format(song=song, stem=stem, ext=ext, model=model, folder=folder)
        parts = [part for part in filled.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ConfigError(
                f"name template {self.text!r}: {filled!r} leads out of the output folder"
            )
        return Path(*parts)


def check_places(places: Iterable[Path], template: NameTemplate) -> None:
    """Raise a ConfigError where two files would have one path, whatever the file system's case."""
    seen: set[str] = set()
    for place in places:
        if (key := str(place).casefold()) in seen:
            raise ConfigError(
                f"name template {template.text!r}: two files would become {place}; put {{song}} "
                "and {stem} into it, with something between them"
            )
        seen.add(key)


def _unique(songs: Iterable[Song]) -> list[Song]:
    """Return the songs without those whose file was named before, by whatever path."""
    first: dict[str, Song] = {}
    for song in songs:
        first.setdefault(file_key(song.path), song)
    return list(first.values())


def _common_folder(paths: Sequence[Path]) -> str | None:
    """Return the folder that all files lie beneath; None on Windows, for several drives."""
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    except ValueError:
        return None


def _beneath(song: Song, root: str | None) -> str:
    """Return a song's folder beneath `root`, with "/"; only its own name where there is none."""
    folder = os.path.dirname(os.path.abspath(song.path))
    relative = os.path.relpath(folder, root) if root is not None else os.path.basename(folder)
    return "" if relative == "." else relative.replace(os.sep, "/")


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
