"""Memory that is freed stays with the process."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from mss.core.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()


def work():
    return [torch.ones(10 << 20) for _ in range(3)]  # 40 MiB each


for _ in range(3):  # what is kept has been there once
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    command = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc alone")
def test_tensors_are_made_of_pages_that_are_there():
    assert faults("kept") < faults("freed") / 10
