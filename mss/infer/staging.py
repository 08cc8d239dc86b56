"""A song's files appear together: they are written to a hidden folder and moved at the end.

The hidden folder lies in the output folder, and a lock in it tells the living from the dead: one
that no process holds was left by a process that was killed, and goes when the song is next
separated. Two processes on one song each have a folder of their own.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from mss.core.errors import DataError, StemgridError
from mss.core.files import check_file_place

_LOCK = "lock"
_ATTEMPTS = 100


class Staging:
    """A hidden folder with a place for each of a song's files.

    Attributes:
        folder: the hidden folder; anything more that is written to it is removed at the end.
        files: where to write what shall become a final path. The names are short: the final one
            may be as long as the file system lets it be, and writers put more before it.
    """

    def __init__(self, folder: Path, finals: Sequence[Path]) -> None:
        self.folder = folder
        self.files = {
            final: folder / f"{index}{final.suffix}" for index, final in enumerate(finals)
        }
        self._stand_for = {staged: final for final, staged in self.files.items()}

    def scratch(self, final: Path, ending: str) -> Path:
        """Return where to write what `final` is made from; the caller removes it."""
        path = self.folder / f"{len(self._stand_for)}{ending}"
        self._stand_for[path] = final
        return path

    def told(self, message: str) -> str:
        """Return an error's message with the final paths: the hidden ones are not the user's."""
        for hidden, final in self._stand_for.items():
            message = message.replace(str(hidden), str(final))
        return message

    def move(self) -> None:
        """Move the files to their final paths, at once where they make up a new folder."""
        parents = {final.parent for final in self.files}
        if len(parents) == 1 and not (parent := parents.pop()).exists():
            parent.parent.mkdir(parents=True, exist_ok=True)
            together = self.folder / "together"
            together.mkdir()
            for final, staged in self.files.items():
                os.replace(staged, together / final.name)
            with contextlib.suppress(OSError):  # another process has made the folder meanwhile
                os.rename(together, parent)
                return
            self.files = {final: together / final.name for final in self.files}
        for final, staged in self.files.items():
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, final)


@contextlib.contextmanager
def staged(out: Path, song: str, finals: Sequence[Path]) -> Iterator[Staging]:
    """Yield a Staging; when the block ends well, its files move to their final paths.

    After an exception, Ctrl-C included, the hidden folder is removed, and so are the folders that
    were made for it. What killed processes left of the same song is removed.

    Args:
        out: the output folder, on the file system of all final paths; is created.
        song: what the song is called in `out`; decides whose remains are removed.
        finals: the files to make, no two equal.

    Raises:
        DataError: a folder can't be made or written, or a final path is a folder.
    """
    assert len(set(finals)) == len(finals)
    for final in finals:
        check_file_place(final, "Choose another folder with -o.")
    with removed_if_empty({out, *(final.parent for final in finals)}):
        folder, lock = _make(out, song)
        try:
            for dead in left_behind(out, song):
                _remove_dead(dead)
            staging = Staging(folder, finals)
            try:
                yield staging
            except StemgridError as error:
                raise type(error)(staging.told(str(error))) from error
            with _write_faults(out):
                staging.move()
        finally:
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)


def is_complete(out: Path, song: str, finals: Iterable[Path]) -> bool:
    """Tell whether a song's files are all there, and from one run.

    A process that was killed while it moved them left its hidden folder: then they may be a
    mixture of an older run's and its own.
    """
    return all(os.path.isfile(final) for final in finals) and not left_behind(out, song)


def left_behind(out: Path, song: str) -> list[Path]:
    """Return the hidden folders of a song that no living process holds."""
    return [
        folder
        for folder in sorted(out.glob(glob.escape(_prefix(song)) + "*"))
        if folder.is_dir() and not folder.is_symlink() and _is_dead(folder)
    ]


@contextlib.contextmanager
def removed_if_empty(folders: Iterable[Path]) -> Iterator[None]:
    """Remove those of the folders and their parents that were missing, if they are empty then."""
    missing = {
        parent
        for folder in folders
        for parent in (folder, *folder.parents)
        if not os.path.lexists(parent)
    }
    try:
        yield
    finally:
        for parent in sorted(missing, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # not made, or in use
                parent.rmdir()


def _make(out: Path, song: str) -> tuple[Path, FileLock]:
    """Make a hidden folder and hold its lock."""
    with _write_faults(out):
        for _ in range(_ATTEMPTS):
            try:
                out.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(prefix=_prefix(song), dir=out))
            except FileNotFoundError:
                continue  # another thread has just removed `out`, which was empty
            if (lock := _hold(folder)) is not None:
                return folder, lock
            # another process took the new folder, not locked yet, for a dead one's
        raise FileNotFoundError(f"the folder vanished {_ATTEMPTS} times")


def _hold(folder: Path) -> FileLock | None:
    """Lock a folder; None where another process holds it or has removed it."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(blocking=False)
    except (Timeout, FileNotFoundError):
        return None
    if not (folder / _LOCK).exists():
        lock.release()
        return None
    return lock


def _is_dead(folder: Path) -> bool:
    """Tell whether no process holds a folder."""
    if (lock := _hold(folder)) is None:
        return False
    lock.release()
    return True


def _remove_dead(folder: Path) -> None:
    """Remove a dead process's folder, with its lock held so that no two do."""
    if (lock := _hold(folder)) is not None:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _prefix(song: str) -> str:
    """Return how the names of a song's hidden folders begin.

    Cut by bytes' worst case: four of them a character, 255 in a name.
    """
    digest = hashlib.sha256(os.fsencode(song)).hexdigest()[:8]
    return f".{os.path.basename(song)[:40]}.{digest}."


@contextlib.contextmanager
def _write_faults(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fault = error.strerror or str(error)
        raise DataError(
            f"{folder}: can't be written ({fault}). Choose another folder with -o, or check its "
            "permissions and the free space."
        ) from error
