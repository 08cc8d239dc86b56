"""One process a folder; a killed one leaves no lock, and its half files go."""

import os
import signal
import subprocess
import sys

import pytest

from mss.core.errors import ConfigError, DataError
from mss.solver.folder import FolderClaim, remove_leftovers

# holds the claim, and a forked child (a loader's worker) that outlives it
HOLDER = """
import os, sys, time
from pathlib import Path
from mss.solver.folder import FolderClaim
claim = FolderClaim(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
time.sleep(60)
"""


def test_the_second_claim_is_refused_until_the_first_is_released(tmp_path):
    folder = tmp_path / "new"
    first = FolderClaim(folder)
    with pytest.raises(ConfigError, match=r"new: this run is being trained by another process"):
        FolderClaim(folder)
    first.release()
    FolderClaim(folder).release()


def test_a_killed_process_leaves_no_claim_even_if_its_workers_live(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(ConfigError, match="another process"):
                FolderClaim(tmp_path)
            holder.kill()
            holder.wait()
            os.kill(child, 0)  # still there
            FolderClaim(tmp_path).release()
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"\.lock: this run's folder can't be locked"):
        FolderClaim(tmp_path / "file" / "run")


def test_half_checkpoints_go_and_everything_else_stays(tmp_path):
    for name in (".checkpoint.th.abc.th", "checkpoint.th", ".config.lock.json.x", ".lock"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".config.lock.json.x", ".lock", "checkpoint.th"]
