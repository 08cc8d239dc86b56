"""A run's folder belongs to one process at a time."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from mss.core.errors import ConfigError, DataError
from mss.solver.checkpoint import checkpoint_path

logger = logging.getLogger(__name__)

CLAIM = ".lock"


class FolderClaim:
    """The right to write into a run's folder, held until `release` or the end of the process.

    The operating system holds the lock, so a process that was killed leaves none behind.
    """

    def __init__(self, folder: Path) -> None:
        """Claim `folder`; it is made where there is none.

        Raises:
            ConfigError: another process trains this run.
            DataError: the folder can't be written to.
        """
        path = folder / CLAIM
        self._lock = FileLock(path, timeout=0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"{folder}: this run is being trained by another process; wait for its end or "
                f"stop it. If there is none (a file system without locks), remove {path}"
            ) from error
        except (OSError, NotImplementedError) as error:
            raise DataError(
                f"{path}: this run's folder can't be locked ({error}); "
                "make it writable or give another one by dora.dir"
            ) from error

    def release(self) -> None:
        """Let others have the folder."""
        self._lock.release()

    def __enter__(self) -> FolderClaim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while it wrote a checkpoint left of it.

    Only who holds the claim may: to everyone else it may be a write in progress.
    """
    final = checkpoint_path(folder)
    for path in folder.glob(f".{final.name}.*"):
        logger.info("Removing %s, half a checkpoint of a killed process", path.name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{path}: half a checkpoint, can't be removed ({error})") from error
