"""Exporting networks of a release for a faster runtime, in a process of its own.

What an exporter holds meanwhile (several times the weights) goes with that process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mss.core.cache import cache_root
from mss.core.errors import ConfigError, DataError, StemgridError
from mss.infer.backends.store import FOLDER, ExportBackend, ExportStore

_GRACE = 10.0
"""Seconds that the process has to clean up."""
_CONFIG_FAULT, _OTHER_FAULT = 1, 2
"""How the process ends where something is at fault, which it prints."""


@dataclass(frozen=True)
class ExportJob:
    """What is to be exported.

    Attributes:
        repo: folder of released models.
        name: full name of the release.
        sources: those that are wanted; empty: all.
        backend: the runtime.
        batch, frames: of chunks [B, C, T].
        plugins: let an installed plug-in give the architecture.
    """

    repo: str
    name: str
    sources: tuple[str, ...]
    backend: ExportBackend
    batch: int
    frames: int
    plugins: bool


def export_store(repo: Path) -> ExportStore:
    """Return the store beside a repo's releases, or the user's where that can't be written."""
    beside = repo / FOLDER
    if os.access(beside if beside.exists() else repo, os.W_OK):
        return ExportStore(beside)
    return ExportStore(cache_root() / "exported")


def run_export(job: ExportJob) -> None:
    """Export every network that a release needs and that is not there yet.

    Raises:
        ConfigError: the runtime can't take a network over.
        DataError: the process was ended, or could not write.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "mss.api.exporting", json.dumps(asdict(job))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told, complaint = process.communicate()
    except BaseException:
        process.terminate()  # it removes what it has half written
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    if process.returncode == 0:
        return
    kind = {_CONFIG_FAULT: ConfigError, _OTHER_FAULT: DataError}.get(process.returncode)
    if kind is not None and told:
        raise kind(told.strip())
    last = complaint.strip().splitlines()[-1:] or [f"status {process.returncode}"]
    raise DataError(
        f"{job.name}: exporting it for {job.backend} ended ({last[0]}); is there memory enough? "
        "--backend torch does without"
    )


def main(argv: Sequence[str]) -> int:
    """Do the job that is told as JSON; print what is at fault."""
    from mss.infer.selection import select_sources
    from mss.release.repo import Repo

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    told = json.loads(argv[0])
    job = ExportJob(**{**told, "sources": tuple(told["sources"])})
    try:
        release = Repo(job.repo).load(job.name, plugins=job.plugins)
        members: Sequence[object] = release.members
        if job.sources:
            members, _ = select_sources(release.members, release.weights, job.sources)
        store = export_store(Path(job.repo))
        for member in members:
            store.prepare(member, job.backend, job.batch, job.frames)  # type: ignore[arg-type]
    except StemgridError as error:
        print(error)
        return _CONFIG_FAULT if isinstance(error, ConfigError) else _OTHER_FAULT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
