"""The folder of one step: what is to be done, whether it is, and who is at it.

    task.json      what is to be done, written before the step starts
    step.json      that it is done: what it was made from and what it left; written last
    failed.json    how the last attempt failed
    job.json       the SLURM job that was submitted for it
    local.log      what it printed on this machine
    out/           a tool's results (the tool makes it)

A process that works on a step imports this before anything else, so nothing here imports torch.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from mss.core.errors import DataError
from mss.core.files import write_json_atomic

TASK, DONE, FAILED, JOB, CLAIM = "task.json", "step.json", "failed.json", "job.json", ".lock"
LOG, OUT = "local.log", "out"


@dataclass(frozen=True)
class Task:
    """What a step does, all of it known before anything runs. Paths are as the lab's folder sees
    them.

    Attributes:
        step: its name in the pipeline, for people.
        id: what it is, which is the name of its folder.
        module: of ``python -m``.
        arguments: of it.
        distributed: arguments with which it takes `{ranks}` processes, put behind the first
            `leading` ones.
        leading: see `distributed`.
        inputs: id of each step that it needs, by name.
        expected: patterns (glob), for each of which there is a file or folder at the end.
        resumes: it goes on with what it left in its folder.
        environment: variables that it is started with.
    """

    step: str
    id: str
    module: str
    arguments: tuple[str, ...]
    distributed: tuple[str, ...] = ()
    leading: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    resumes: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, ranks: int = 1) -> list[str]:
        """Return what follows the name of the Python interpreter.

        Args:
            ranks: processes among which it is to share its work itself.
        """
        more = [part.format(ranks=ranks) for part in self.distributed] if ranks > 1 else []
        first, rest = self.arguments[: self.leading], self.arguments[self.leading :]
        return ["-m", self.module, *first, *more, *rest]


class StepFolder:
    """The files of one step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def out(self) -> Path:
        """Where a tool's results lie."""
        return self.path / OUT

    def write_task(self, task: Task) -> None:
        """Say what is to be done."""
        write_json_atomic(self.path / TASK, asdict(task))

    def read_task(self) -> Task:
        """Return what is to be done.

        Raises:
            DataError: the file is missing or damaged.
        """
        content = self._read(TASK)
        try:
            if content is None:
                raise TypeError("it holds no JSON object")
            values: dict[str, Any] = {
                key: tuple(v) if isinstance(v, list) else v for key, v in content.items()
            }
            return Task(**values)
        except TypeError as error:
            raise DataError(
                f"{self.path / TASK}: can't be used ({error}); run the pipeline again"
            ) from error

    def is_done(self) -> bool:
        """Whether it has been done, and what it left is still there."""
        record = self._read(DONE)
        return record is not None and all(Path(left).exists() for left in record.get("left", ()))

    def record_done(self, task: Task, left: list[str], seconds: float) -> None:
        """Note that it is done: the last thing that a step does."""
        record = {**asdict(task), "left": left, "seconds": round(seconds, 1)}
        write_json_atomic(self.path / DONE, record)

    @property
    def failure(self) -> str:
        """How the last attempt failed; empty if it did not."""
        return str((self._read(FAILED) or {}).get("reason", ""))

    @property
    def failure_time(self) -> int:
        """When that was noted (ns), 0 if it did not fail."""
        try:
            return (self.path / FAILED).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def record_failure(self, reason: str) -> None:
        """Note how this attempt failed."""
        write_json_atomic(self.path / FAILED, {"reason": reason})

    def forget_failure(self) -> None:
        """Make room for another attempt."""
        (self.path / FAILED).unlink(missing_ok=True)

    @property
    def job(self) -> str:
        """The SLURM job that was submitted last; empty if none was."""
        return str((self._read(JOB) or {}).get("job", ""))

    def record_job(self, job: str) -> None:
        """Note the job that was submitted."""
        write_json_atomic(self.path / JOB, {"job": job})

    def is_claimed(self) -> bool:
        """Whether a process works on it, here or on a machine that shares the disk."""
        if not (self.path / CLAIM).exists():
            return False
        with Claim(self) as claim:
            return not claim.take()

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return the content of a file, None where it is missing or damaged."""
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None


class Claim:
    """The right to work on a step, held until `close` or the end of the last process that has it.

    Not filelock's: that one ends with the process which took it, even where the command that this
    process started lives on. This one is handed on to the command (`descriptor`), so a step whose
    supervisor was killed is not started a second time beside what was left of the first.
    """

    def __init__(self, folder: StepFolder) -> None:
        """Open the folder's lock; the folder is made where there is none."""
        self.path = folder.path / CLAIM
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)

    def take(self) -> bool:
        """Claim the step; return whether it is ours now.

        Raises:
            DataError: the file system has no locks.
        """
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise DataError(
                f"{self.path}: this step can't be locked ({error}); put the outputs on another "
                "file system by $STEMGRID_OUTPUTS"
            ) from error
        return True

    def is_of_this_folder(self) -> bool:
        """Whether the folder has not been put aside since (see tools.pipeline_again)."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let others have the step."""
        os.close(self.descriptor)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def missing(expected: tuple[str, ...]) -> list[str]:
    """Return the patterns that fit nothing."""
    return [pattern for pattern in expected if not glob.glob(pattern)]


def found(expected: tuple[str, ...]) -> list[str]:
    """Return what fits the patterns."""
    return [path for pattern in expected for path in sorted(glob.glob(pattern))]
