"""One process of a build: `python -m mss.data.synth.worker '{"root": ..., "songs": [...]}'`.

It writes its songs and prints a manifest record as one JSON line for each. A program of its own and
not a multiprocessing worker, because that would import the caller's main script again (or fork a
process in which torch has threads), and would outlive a killed parent: here the next line breaks
the pipe and ends it.
"""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mss
from mss.core.errors import DataError
from mss.data.synth.dataset import SongRecord, write_song

SongKeys = list[tuple[str, int]]


def render_in_processes(
    root: Path,
    seed: int,
    songs: SongKeys,
    seconds: float,
    processes: int,
    report: Callable[[], object],
) -> list[SongRecord]:
    """Write songs with several processes, each of which takes every n-th song.

    Args:
        songs: (split, index) of each song.
        report: called once a finished song, from any thread, one call at a time.

    Raises:
        DataError: a process failed; its own message went to the standard error.
    """
    shares = [songs[first::processes] for first in range(processes)]
    running = [_start(root, seed, share, seconds) for share in shares]
    lock = threading.Lock()

    def collect(process: subprocess.Popen[str]) -> list[SongRecord]:
        assert process.stdout is not None
        records = []
        for line in process.stdout:
            fields = json.loads(line)
            fields["progressions"] = tuple(fields["progressions"])
            records.append(SongRecord(**fields))
            with lock:
                report()
        code = process.wait()
        if code != 0:
            raise DataError(
                f"{root}: a process that renders the demo songs failed (exit code {code}); "
                "its message is above. Nothing was kept: start again when the cause is removed."
            )
        return records

    with ThreadPoolExecutor(len(running)) as threads:
        try:
            return [record for records in threads.map(collect, running) for record in records]
        finally:
            # On an error the others stop at once, and with them the threads that read from them.
            for process in running:
                process.terminate()


def _start(root: Path, seed: int, songs: SongKeys, seconds: float) -> subprocess.Popen[str]:
    """Start a process that imports the same mss as this one and computes on one thread."""
    task = json.dumps({"root": str(root), "seed": seed, "songs": songs, "seconds": seconds})
    package_folder = str(Path(mss.__file__).parents[1])
    search = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mss.data.synth.worker", task]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
    )


def main(task_json: str) -> None:
    """Write the songs of a task and print their records."""
    task = json.loads(task_json)
    for split, index in task["songs"]:
        record = write_song(Path(task["root"]), task["seed"], split, index, task["seconds"])
        sys.stdout.write(json.dumps(dataclasses.asdict(record)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (KeyboardInterrupt, BrokenPipeError):
        # The parent was interrupted or killed, and says so itself. Not sys.exit: that would flush
        # the broken pipe once more.
        os._exit(1)
