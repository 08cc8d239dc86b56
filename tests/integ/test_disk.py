"""A full disk, or a read-only one: the older checkpoint survives, the cause is named."""

import hashlib
import os
import subprocess

import pytest
import torch

pytestmark = [
    pytest.mark.integ,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount the small disk"),
]

RUN = (
    "dset=demo_tiny",
    "model=openunmix_tiny",
    "model.hidden_size=32",
    "variant=debug",
    "misc.workers=0",
    "misc.checkpoint_steps=1",
    "misc.accept_changes=true",
)


@pytest.fixture
def disk(lab):
    """A small disk for the outputs; `disk("ro")` makes it read-only, `disk("rw")` writable."""
    path = lab.root / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(path)], check=True)
    lab.environment["STEMGRID_OUTPUTS"] = str(path / "outputs")

    def remount(mode: str):
        subprocess.run(["mount", "-o", f"remount,{mode}", str(path)], check=True)
        return path

    try:
        yield remount
    finally:
        subprocess.run(["umount", str(path)], check=True)


def content(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in (".th", ".json")
    }


def fill(path):
    """Leave less than a megabyte free."""
    with open(path / "ballast", "wb") as ballast:
        free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
        ballast.write(bytes(free - 2**19))


@pytest.mark.timeout(300)
def test_a_disk_that_fills_up_in_the_middle_of_a_run(lab, disk):
    """The checkpoint before it stays, whole, and the same command goes on from it."""
    command = ("dora", "-P", "mss", "run", *RUN, "train.items=4000")
    log = lab.root / "log"
    process = lab.start(*command, log=log)
    runs = disk("rw") / "outputs" / "xps"
    lab.wait_until(lambda: list(runs.glob("*/checkpoint.th")), process, log)
    fill(disk("rw"))
    assert process.wait(120) == 1
    text = log.read_text()
    assert "the checkpoint could not be written ([Errno 28] No space left on device)" in text
    assert "the one before it is kept" in text
    assert "Traceback" not in text
    (folder,) = runs.iterdir()
    assert not list(folder.glob(".checkpoint*"))
    step = torch.load(folder / "checkpoint.th", weights_only=True)["step"]
    assert step > 0

    (disk("rw") / "ballast").unlink()
    process = lab.start(*command, log=log)
    lab.wait_until(lambda: "Resuming after" in log.read_text(), process, log)
    process.terminate()
    assert process.wait(60) == 143
    assert f"Resuming after 0 epochs and {step} of 1000 updates" in log.read_text()


@pytest.mark.timeout(300)
def test_read_only_outputs_are_named(lab, disk):
    lab.train(*RUN)
    (folder,) = (disk("ro") / "outputs" / "xps").iterdir()
    before = content(folder)
    printed = lab.train(*RUN, status=1)
    assert "Read-only file system" in printed
    assert str(folder.parent.parent) in printed
    assert "Traceback" not in printed
    assert content(folder) == before
