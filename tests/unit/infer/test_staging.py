"""Files that appear together, and what killed processes leave."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mss.core.errors import DataError
from mss.infer.staging import is_complete, left_behind, staged

KILLED = """
import os, signal, sys
from pathlib import Path
from mss.infer.staging import staged
out = Path(sys.argv[1])
with staged(out, "song", [out / "song" / "a.wav", out / "song" / "b.wav"]) as staging:
    for path in staging.files.values():
        path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def finals(out: Path) -> list[Path]:
    return [out / "song" / "a.wav", out / "song" / "b.wav"]


def write_song(out: Path, content: str) -> None:
    with staged(out, "song", finals(out)) as staging:
        for path in staging.files.values():
            path.write_text(content)


def leave_dead(out: Path, repository: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], cwd=repository)
    assert done.returncode == -9
    assert len(left_behind(out, "song")) == 1


def test_files_appear_together_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with staged(out, "song", finals(out)) as staging:
        for path in staging.files.values():
            path.write_text("new")
        staging.scratch(finals(out)[0], ".tmp").write_text("scratch")
        assert not (out / "song").exists()
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*")) == [
        "song",
        "song/a.wav",
        "song/b.wav",
    ]


def test_a_new_folder_has_the_usual_permissions(tmp_path: Path) -> None:
    write_song(tmp_path, "new")
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "song").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_files_of_others_in_the_folder_stay(tmp_path: Path) -> None:
    write_song(tmp_path, "old")
    (tmp_path / "song" / "notes.txt").write_text("mine")
    write_song(tmp_path, "new")
    content = {path.name: path.read_text() for path in (tmp_path / "song").iterdir()}
    assert content == {"a.wav": "new", "b.wav": "new", "notes.txt": "mine"}


def test_a_folder_that_another_process_makes_meanwhile(tmp_path: Path) -> None:
    with staged(tmp_path, "song", finals(tmp_path)) as staging:
        for path in staging.files.values():
            path.write_text("new")
        (tmp_path / "song").mkdir()
        (tmp_path / "song" / "other.wav").write_text("other")
    assert sorted(p.name for p in (tmp_path / "song").iterdir()) == ["a.wav", "b.wav", "other.wav"]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"

    def interrupted() -> None:
        with staged(out, "song", finals(out)) as staging:
            next(iter(staging.files.values())).write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_run(
    tmp_path: Path, repository: Path
) -> None:
    leave_dead(tmp_path, repository)
    assert not is_complete(tmp_path, "song", finals(tmp_path))
    write_song(tmp_path, "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["song"]
    assert is_complete(tmp_path, "song", finals(tmp_path))


def test_a_song_whose_files_may_be_of_two_runs_is_not_complete(
    tmp_path: Path, repository: Path
) -> None:
    write_song(tmp_path, "old")
    assert is_complete(tmp_path, "song", finals(tmp_path))
    leave_dead(tmp_path, repository)
    assert not is_complete(tmp_path, "song", finals(tmp_path))


def test_what_was_left_of_another_song_stays(tmp_path: Path, repository: Path) -> None:
    leave_dead(tmp_path, repository)
    with staged(tmp_path, "song 2", [tmp_path / "song 2" / "a.wav"]) as staging:
        next(iter(staging.files.values())).write_text("new")
    assert len(left_behind(tmp_path, "song")) == 1


def test_a_living_process_keeps_its_folder(tmp_path: Path) -> None:
    """Both write the same song; the last one stands, whole."""
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with staged(tmp_path, "song", finals(tmp_path)) as staging:
            for path in staging.files.values():
                path.write_text("slow")
            inside.set()
            assert go_on.wait(10)

    thread = threading.Thread(target=slow)
    thread.start()
    assert inside.wait(10)
    assert left_behind(tmp_path, "song") == []
    write_song(tmp_path, "quick")
    assert {p.read_text() for p in finals(tmp_path)} == {"quick"}
    go_on.set()
    thread.join()
    assert {p.read_text() for p in finals(tmp_path)} == {"slow"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["song"]


@pytest.mark.parametrize("song", ["x" * 250, "ж" * 120, "🎵" * 60, "album/" + "🎵" * 60, "-", "*["])
def test_names_as_long_and_odd_as_the_system_lets_them_be(tmp_path: Path, song: str) -> None:
    final = tmp_path / song / ("🎵" * 62 + ".wav")
    with staged(tmp_path, song, [final]) as staging:
        staging.files[final].write_text("new")
    assert final.read_text() == "new"
    assert left_behind(tmp_path, song) == []


def test_a_folder_in_a_files_place_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "song" / "a.wav").mkdir(parents=True)
    with pytest.raises(DataError, match="is a folder"), staged(tmp_path, "song", finals(tmp_path)):
        raise AssertionError("the work began")
