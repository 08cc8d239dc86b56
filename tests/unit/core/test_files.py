"""Atomic writes: the new content or the old, never a half."""

import json
import os
import stat
import subprocess
import sys
import time

import pytest

from mss.core.errors import DataError
from mss.core.files import (
    atomic_path,
    check_file_place,
    check_folder_place,
    file_sha256,
    write_json_atomic,
    write_text_atomic,
)


def test_a_write_replaces_and_leaves_nothing_else(tmp_path):
    write_text_atomic(tmp_path / "new" / "a.txt", "one")
    write_text_atomic(tmp_path / "new" / "a.txt", "zwölf")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "zwölf"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_places_are_checked_before_anything_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    check_file_place(tmp_path / "new" / "deep" / "a.json", "Go.")
    check_file_place(tmp_path / "file", "Go.")  # to be written over
    check_folder_place(tmp_path / "new", "Go.")
    check_folder_place(tmp_path, "Go.")
    for path in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(DataError, match=r"file: is a file, not a folder\. Go\."):
            check_folder_place(path, "Go.")
    with pytest.raises(DataError, match=r"is a folder, not a file\. Go\."):
        check_file_place(tmp_path, "Go.")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_keeps_the_old_content(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_killed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    code = (
        "import sys, time; from mss.core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t:\n"
        "    t.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writing\n"
    child.kill()
    child.wait()
    child.stdout.close()
    assert path.read_text() == "old"


def test_the_result_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_text_atomic(tmp_path / "atomic", "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


def test_a_name_of_full_length_can_be_written(tmp_path):
    write_text_atomic(tmp_path / ("n" * 255), "x")
    assert (tmp_path / ("n" * 255)).read_text() == "x"


def test_json_refuses_what_json_does_not_know(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []
    write_json_atomic(tmp_path / "a.json", {"x": "é"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"x": "é"}


def test_sha256_is_that_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc", chunk_bytes=2) == expected


def test_a_reader_never_sees_a_half(tmp_path):
    """A reader polls while another process writes two contents in turn."""
    path = tmp_path / "a.txt"
    write_text_atomic(path, "a" * 100_000)
    code = (
        "import sys; from mss.core.files import write_text_atomic\n"
        "for n in range(40):\n"
        "    write_text_atomic(sys.argv[1], 'ab'[n % 2] * 100_000)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)])
    while child.poll() is None:
        text = path.read_text()
        assert len(text) == 100_000
        assert len(set(text)) == 1
        time.sleep(0.001)
    assert child.returncode == 0
