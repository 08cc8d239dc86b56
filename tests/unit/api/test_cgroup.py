"""Control groups as Linux shows them, in files of our own."""

from pathlib import Path

import pytest

from mss.api.cgroup import cpu_quota, memory_left


def group(root: Path, path: str, **files: str) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def test_version_2_takes_the_tightest_group_around(root: Path, own: Path) -> None:
    own.write_text("0::/batch/job\n")
    group(root, "batch/job", cpu__max="max 100000", memory__max="max", memory__current="500")
    group(
        root,
        "batch",
        cpu__max="150000 100000",
        memory__max="1000",
        memory__current="700",
        memory__stat="anon 500\ninactive_file 120\nactive_file 80\n",
    )
    group(root, "", cpu__max="400000 100000")
    assert cpu_quota(root, own) == 1.5
    assert memory_left(root, own) == 420


def test_version_1_has_a_folder_for_each_controller(root: Path, own: Path) -> None:
    own.write_text("4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n")
    group(root, "cpu,cpuacct/job", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    group(root, "cpu,cpuacct", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    group(
        root,
        "memory/job",
        memory__limit_in_bytes="2000",
        memory__usage_in_bytes="1900",
        memory__stat="inactive_file 1\ntotal_inactive_file 300\n",
    )
    group(root, "memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="9")
    assert cpu_quota(root, own) == 0.5
    assert memory_left(root, own) == 400


def test_a_container_sees_its_group_as_the_root(root: Path, own: Path) -> None:
    own.write_text("0::/docker/1234\n")
    group(root, "", cpu__max="200000 100000", memory__max="1000", memory__current="1100")
    assert cpu_quota(root, own) == 2
    assert memory_left(root, own) == 0


@pytest.mark.parametrize("text", [None, "", "0::/\n"])
def test_no_limit(text: str | None, root: Path, own: Path) -> None:
    if text is not None:
        own.write_text(text)
    group(root, "", cpu__max="max 100000\n", memory__max="max\n", memory__current="5\n")
    assert cpu_quota(root, own) is None
    assert memory_left(root, own) is None
