"""What `stemgrid separate` writes, where, and what it tells."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mss.api import engines
from mss.api import run as run_module
from mss.cli.main import main
from mss.core.audio_io import read_audio, write_audio
from mss.core.types import ChunkFn

Command = Callable[..., int]


@pytest.fixture
def separate(released: Path, tmp_path: Path) -> Command:
    """Return a function that separates into tmp_path / "out" with the options given."""

    def run(*arguments: str | Path) -> int:
        options = ["--repo", str(released), "--device", "cpu", "-o", str(tmp_path / "out")]
        return main(["separate", *options, *map(str, arguments)])

    return run


@pytest.fixture
def album(song: Path, tmp_path: Path) -> Path:
    """Five songs in three folders, two of one name, beside what is no song."""
    root = tmp_path / "album"
    places = "1/one.wav", "2/one.wav", "2/b.wav", "2/a.wav", "c.WAV", ".hidden.wav", ".x/d.wav"
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(song, root / place)
    (root / "cover.jpg").write_bytes(b"no song")
    return root


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def test_a_folder_is_taken_with_all_folders_in_it(
    separate: Command, album: Path, tmp_path: Path
) -> None:
    assert separate(album) == 0
    songs = ["1/one", "2/one", "a", "b", "c"]
    assert files(tmp_path / "out") == [
        f"{song}/{stem}.wav" for song in songs for stem in ("drums", "vocals")
    ]


def test_the_output_folder_is_no_input(separate: Command, song: Path, tmp_path: Path) -> None:
    assert separate(tmp_path, "--name-template", "{folder}/{song}/{stem}.{ext}") == 0
    first = files(tmp_path)
    assert separate(tmp_path, "--name-template", "{folder}/{song}/{stem}.{ext}") == 0
    assert files(tmp_path) == first


def test_a_pattern_that_the_shell_left(separate: Command, album: Path, tmp_path: Path) -> None:
    assert separate(album / "**" / "one.wav") == 0
    assert files(tmp_path / "out")[0] == "1/one/drums.wav"
    assert len(files(tmp_path / "out")) == 4


def test_a_name_with_the_signs_of_a_pattern(separate: Command, song: Path, tmp_path: Path) -> None:
    odd = song.rename(tmp_path / "a [1]*?.wav")
    assert separate(odd) == 0
    assert len(files(tmp_path / "out" / "a [1]*?")) == 2


@pytest.mark.parametrize("named", ["nothing*.wav", "empty", "nowhere"])
def test_what_names_no_song_is_told_and_the_others_are_done(
    named: str,
    separate: Command,
    song: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    assert separate(tmp_path / named, song) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[0] == "stemgrid: error: 1 of 2 files could not be separated:"
    assert error[1].startswith(f"  {tmp_path / named}: ")
    assert len(files(tmp_path / "out" / "song")) == 2


def test_some_stems_in_the_order_asked_for(
    separate: Command, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert separate(song) == 0
    both = content(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    capsys.readouterr()
    assert separate(song, "--stems", "vocals", "--json") == 0
    assert content(tmp_path / "out") == {"song/vocals.wav": both["song/vocals.wav"]}
    assert separate(song, "--stems", "bass") == 1
    assert "bass" in capsys.readouterr().err


def test_two_stems_add_up_to_the_mixture(separate: Command, song: Path, tmp_path: Path) -> None:
    assert separate(song, "--two-stems", "vocals", "--float32") == 0
    assert files(tmp_path / "out" / "song") == ["no_vocals.wav", "vocals.wav"]
    stems = [read_audio(tmp_path / "out" / name)[0] for name in files(tmp_path / "out")]
    torch.testing.assert_close(sum(stems), read_audio(song)[0], atol=1e-6, rtol=0)


def test_the_residual(separate: Command, song: Path, tmp_path: Path) -> None:
    assert separate(song, "--residual", "--float32") == 0
    stems = [read_audio(tmp_path / "out" / name)[0] for name in files(tmp_path / "out")]
    assert len(stems) == 3
    torch.testing.assert_close(sum(stems), read_audio(song)[0], atol=1e-6, rtol=0)


def loud(*_: object) -> ChunkFn:
    def chunk_fn(chunks: Tensor) -> Tensor:
        return torch.stack([5 * chunks, 0.1 * chunks], dim=1)

    return chunk_fn


def test_a_shared_gain_is_told(
    separate: Command,
    song: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(engines, "bag_chunk_fn", loud)
    peak = 5 * read_audio(song)[0].abs().max().item()
    assert peak > 1
    assert separate(song, "--rescale", "shared") == 0
    told = capsys.readouterr()
    # 5 + 0.1 - 1 of the mixture is its error: 20 log10(4.1)
    facts = f"mixture minus stems 12.3 dB, all stems times {1 / peak:.3f} so that none clips)"
    assert told.out.splitlines()[1].endswith(facts)
    assert told.err == ""


def test_shifts_are_decided_by_the_seed(separate: Command, song: Path, tmp_path: Path) -> None:
    def stems(*options: str) -> dict[str, bytes]:
        assert separate(song, "--float32", *options) == 0
        return content(tmp_path / "out")

    none, first = stems(), stems("--shifts", "2", "--seed", "1")
    assert stems("--shifts", "2", "--seed", "1") == first
    assert stems("--shifts", "2", "--seed", "2") != first
    assert first != none


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}/{song}.{ext}", ["drums/song.flac", "vocals/song.flac"]),
        ("{model} {song} {stem}.{ext}", ["MODEL song drums.flac", "MODEL song vocals.flac"]),
    ],
)
def test_name_templates(
    template: str,
    expected: list[str],
    separate: Command,
    song: Path,
    tmp_path: Path,
    released: Path,
) -> None:
    assert separate(song, "--name-template", template, "--format", "flac") == 0
    model = next(path.stem for path in released.glob("hdemucs-aaaa1111*.md"))
    assert files(tmp_path / "out") == [name.replace("MODEL", model) for name in expected]


def test_a_template_that_mixes_songs_is_refused_before_the_work(
    separate: Command, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert separate(album, "--name-template", "{stem}.{ext}") == 1
    assert "two files would become drums.wav" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_recording_is_overwritten(
    separate: Command, album: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(album)
    options = ["--stems", "vocals", "--name-template", "{song}.{ext}", "-o", album / "2"]
    assert separate(album / "2" / "a.wav", album / "2" / "b.wav", *options) == 1
    assert "a.wav: a stem would overwrite this recording" in capsys.readouterr().err
    assert content(album) == before


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_events(
    separate: Command, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("not audio")
    assert separate(album / "c.WAV", bad, "--json") == 1
    capsys.readouterr()
    assert separate(album, bad, "--json", "--skip-existing", "--jobs", "2") == 1
    told = events(capsys.readouterr().out)
    start, end = told[0], told[-1]
    assert (start["event"], start["files"], start["jobs"]) == ("start", 6, 2)
    assert (end["done"], end["skipped"], end["failed"]) == (4, 1, 1)
    kinds = {
        kind: [e for e in told if e["event"] == kind] for kind in ("done", "skipped", "failed")
    }
    names = sorted(Path(e["file"]).name for e in kinds["done"])
    assert names == ["a.wav", "b.wav", "one.wav", "one.wav"]
    for event in kinds["done"]:
        assert all(Path(stem).is_file() for stem in event["stems"].values())
        assert (event["samplerate"], event["channels"], event["frames"]) == (8000, 2, 20011)
        assert set(event["peaks"]) == set(event["clipped"]) == {"drums", "vocals"}
        assert event["gain"] == 1.0
    assert [e["file"] for e in kinds["skipped"]] == [str(album / "c.WAV")]
    assert kinds["failed"][0]["file"] == str(bad)
    assert kinds["failed"][0]["error"].startswith(f"{bad}: ")


def test_json_of_silence_has_no_number_that_json_lacks(
    separate: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_audio(tmp_path / "silence.wav", torch.zeros(1, 100), 8000)
    write_audio(tmp_path / "sound.wav", torch.full((1, 100), 0.5), 8000)

    def exact(*_: object) -> ChunkFn:
        return lambda chunks: torch.stack([chunks, torch.zeros_like(chunks)], dim=1)

    monkeypatch.setattr(engines, "bag_chunk_fn", exact)
    assert separate(tmp_path / "silence.wav", tmp_path / "sound.wav", "--json") == 0
    told = [e for e in events(capsys.readouterr().out) if e["event"] == "done"]
    assert [e["sum_error_db"] for e in told] == [None, -999.0]


def test_only_complete_songs_are_skipped(
    separate: Command, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert separate(song, "--skip-existing") == 0
    first = content(out)
    (out / "song" / "drums.wav").write_text("mine")
    capsys.readouterr()
    assert separate(song, "--skip-existing") == 0
    assert capsys.readouterr().out.splitlines()[1] == f"{out / 'song'}: skipped, is there"
    assert (out / "song" / "drums.wav").read_text() == "mine"
    (out / "song" / "vocals.wav").unlink()
    assert separate(song, "--skip-existing") == 0
    assert content(out) == first


@pytest.mark.parametrize("model", ["hdemucs-aaaa1111", "openunmix"])
def test_jobs_change_no_bit(model: str, separate: Command, album: Path, tmp_path: Path) -> None:
    """At an equal number of threads a song: two jobs share two."""
    for index, path in enumerate(sorted(album.rglob("[abo]*.wav"))):
        noise = torch.randn(2, 9000 + 777 * index, generator=torch.Generator().manual_seed(index))
        write_audio(path, 0.1 * noise, 8000)
    options = (album, "-n", model, "--float32", "--shifts", "1")
    assert separate(*options, "--threads", "1") == 0
    one = content(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert separate(*options, "--jobs", "2", "--threads", "2") == 0
    assert content(tmp_path / "out") == one
    assert len(one) == 10


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_a_name_that_is_no_text(
    separate: Command, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = song.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.wav"))
    assert separate(odd, "--json") == 1
    told = capsys.readouterr()
    assert Path(events(told.out)[-2]["file"]) == odd
    assert "the name is not valid UTF-8" in told.err


def test_the_bar_counts_songs(
    separate: Command,
    album: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert separate(album) == 0
    told = capsys.readouterr()
    assert "left" in told.err
    assert len(told.out.splitlines()) == 6


def test_the_folder_itself_as_output_twice(
    separate: Command, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "songs"
    folder.mkdir()
    shutil.move(song, folder / "one.wav")
    assert separate(folder, "-o", folder) == 0
    first = content(folder)
    assert sorted(first) == ["one.wav", "one/drums.wav", "one/vocals.wav"]
    assert separate(folder, "-o", folder) == 1
    assert "--skip-existing" in capsys.readouterr().err
    write_audio(folder / "two.wav", torch.zeros(2, 500), 8000)
    assert separate(folder, "-o", folder, "--skip-existing") == 0
    assert files(folder / "two") == ["drums.wav", "vocals.wav"]
    assert {name: data for name, data in content(folder).items() if name in first} == first


def test_channels_that_have_no_rule_are_told_with_the_file(
    separate: Command, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nine = tmp_path / "nine.wav"
    write_audio(nine, torch.zeros(9, 500), 8000)
    assert separate(nine, song) == 1
    assert f"  {nine}: " in capsys.readouterr().err
    assert files(tmp_path / "out") == ["song/drums.wav", "song/vocals.wav"]


def test_a_song_that_memory_is_too_small_for_is_told_and_the_others_are_done(
    separate: Command,
    song: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_audio(tmp_path / "long.wav", torch.zeros(2, 30_000), 8000)
    real = run_module.separate_file

    def hungry(engine: Any, path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "long.wav":  # what torch raises outside of the network, too
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return real(engine, path, *arguments, **options)

    monkeypatch.setattr(run_module, "separate_file", hungry)
    assert separate(tmp_path / "long.wav", song) == 1
    assert f"  {tmp_path / 'long.wav'}: there is too little memory" in capsys.readouterr().err
    assert files(tmp_path / "out") == ["song/drums.wav", "song/vocals.wav"]
