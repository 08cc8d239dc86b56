"""What a Linux control group (a container, a batch job) leaves of a machine to this process.

Both versions of the interface: https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/.
A group's limit holds for all groups in it, so each one from the own up to the root counts. In a
container the own group's path may be the host's; then the root, which is the container's, counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")

_NO_LIMIT = 1 << 60  # version 1 writes the largest number of pages for "none"


def cpu_quota(root: Path = ROOT, own: Path = OWN) -> float | None:
    """Return the CPUs that the process may keep busy on average; None: no limit is set."""
    quotas = []
    for folder in _groups("cpu", root, own):
        both = _words(folder / "cpu.max")  # version 2: "max 100000" or "150000 100000"
        if not both:
            both = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(both) == 2 and both[0] not in ("max", "-1"):
            quotas.append(int(both[0]) / int(both[1]))
    return min(quotas, default=None)


def memory_left(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Return the bytes that may still be taken; None: no limit is set.

    Cached files that nobody has used lately don't count as taken.
    """
    left = []
    for folder in _groups("memory", root, own):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is None or used is None or limit >= _NO_LIMIT:
            continue
        words = _words(folder / "memory.stat")
        stat = dict(zip(words[::2], words[1::2], strict=False))
        cached = int(stat.get("total_inactive_file", stat.get("inactive_file", "0")))
        left.append(max(0, limit - used + cached))
    return min(left, default=None)


def _groups(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of the process's group for a controller and of those around it."""
    for line in _lines(own):
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top = root
        elif controller in controllers.split(","):
            mounted = (root / name for name in (controllers, controller))
            top = next((folder for folder in mounted if folder.is_dir()), root)
        else:
            continue
        group = top / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _number(*files: Path) -> int | None:
    """Return the number in the first file that is there; None: none is, or it says "max"."""
    for file in files:
        words = _words(file)
        if words:
            return int(words[0]) if words[0].isdigit() else None
    return None


def _words(file: Path) -> list[str]:
    return [word for line in _lines(file) for word in line.split()]


def _lines(file: Path) -> list[str]:
    """Return a file's lines; none where it can't be read, as outside of Linux."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
