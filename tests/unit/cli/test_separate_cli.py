"""`stemgrid separate` and `stemgrid models` with released models, as a user types them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mss.api import engines
from mss.cli.main import main
from mss.core.audio_io import audio_info, read_audio, write_audio
from mss.core.registry import resolve
from mss.core.types import AudioSpec, ChunkFn
from mss.infer.bag import bag_chunk_fn
from mss.infer.separate import separate
from mss.release.repo import Repo

SPEC = AudioSpec(("drums", "vocals"), samplerate=8000, channels=2)


def read_stems(folder: Path, extension: str = ".wav") -> Tensor:
    assert sorted(p.name for p in folder.iterdir()) == [f"drums{extension}", f"vocals{extension}"]
    return torch.stack([read_audio(folder / f"{name}{extension}")[0] for name in SPEC.sources])


def test_equals_the_library(
    released: Path, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["separate", "--repo", str(released), str(song), "-o", str(out), "--float32"]
    assert main([*command, "--device", "cpu", "--threads", "1"]) == 0
    release = Repo(released).load("hdemucs-aaaa1111")
    mix, _ = read_audio(song)
    expected = separate(bag_chunk_fn(release.members), release.spec, release.inference, mix)
    stems = read_stems(out / "song")
    torch.testing.assert_close(stems, expected, atol=1e-6, rtol=1e-5)
    told = capsys.readouterr()
    error = 10 * torch.log10((mix - expected.sum(0)).square().sum() / mix.square().sum())
    assert told.out == (
        f"{release.name} on cpu, 1 thread, torch float32, segment 1 s, overlap 0.25, "
        "about 0.3 GiB of memory a song\n"
        f"{out / 'song'}: drums, vocals (wav32, 8000 Hz, 0:02.5, "
        f"mixture minus stems {error.item():.1f} dB)\n"
    )
    assert told.err == ""


def test_options_reach_the_engine(released: Path, song: Path, tmp_path: Path) -> None:
    command = ["separate", "--repo", str(released), "-n", "openunmix", "-o", str(tmp_path)]
    options = ["--segment", "0.7", "--overlap", "0.5", "--batch-size", "2", "--threads", "1"]
    assert main([*command, *options, "--device", "cpu", "--format", "wav32", str(song)]) == 0
    release = Repo(released).load("bbbb2222")
    inference = replace(release.inference, segment=Fraction("0.7"), overlap=0.5)
    mix, _ = read_audio(song)
    chunk_fn = bag_chunk_fn(release.members)
    expected = separate(chunk_fn, release.spec, inference, mix, batch_size=2)
    stems = read_stems(tmp_path / "song")
    torch.testing.assert_close(stems, expected, atol=1e-6, rtol=1e-5)
    defaults = separate(chunk_fn, release.spec, release.inference, mix)
    assert (stems - defaults).abs().max() > 1e-4, "the options changed nothing"


def test_a_bag_is_the_mean_of_its_members(released: Path, song: Path, tmp_path: Path) -> None:
    results = {}
    for name in ("both", "aaaa1111", "aaaa3333"):
        command = ["separate", "--repo", str(released), "-n", name, "-o", str(tmp_path / name)]
        assert main([*command, "--format", "wav32", str(song)]) == 0
        results[name] = read_stems(tmp_path / name / "song")
    mean = (results["aaaa1111"] + results["aaaa3333"]) / 2
    assert (results["aaaa1111"] - mean).abs().max() > 1e-3
    torch.testing.assert_close(results["both"], mean, atol=1e-6, rtol=1e-5)


def test_mp3_in_flac_out(released: Path, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    generator = torch.Generator().manual_seed(0)
    write_audio(path, 0.1 * torch.randn(1, 50_000, generator=generator), 44100)
    frames = read_audio(path)[0].shape[-1]
    command = ["separate", "--repo", str(released), str(path), "-o", str(tmp_path / "out")]
    assert main([*command, "--format", "flac"]) == 0
    for stem in ("drums", "vocals"):
        info = audio_info(tmp_path / "out" / "song" / f"{stem}.flac")
        assert (info.samplerate, info.channels, info.frames) == (44100, 1, frames)


def test_repo_from_the_environment_and_default_folder(
    released: Path, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEMGRID_REPO", str(released))
    assert main(["separate", "song.wav"]) == 0
    assert read_stems(tmp_path / "separated" / "song").shape == (2, 2, 20011)
    assert song.exists()


def test_a_bad_file_among_many(
    released: Path, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("not audio")
    last = tmp_path / "last.wav"
    shutil.copy(song, last)
    out = tmp_path / "out"
    files = [str(text), str(song), str(tmp_path / "missing.wav"), str(last)]
    assert main(["separate", "--repo", str(released), *files, "-o", str(out)]) == 1
    assert sorted(p.name for p in out.iterdir()) == ["last", "song"]
    told = capsys.readouterr()
    first, *rest = told.err.splitlines()
    assert first == "stemgrid: error: 2 of 4 files could not be separated:"
    assert [line.split(": ")[0].strip() for line in rest] == [files[0], files[2]]
    assert [line.split(": ")[0] for line in told.out.splitlines()[1:]] == [
        files[0],
        str(out / "song"),
        files[2],
        str(out / "last"),
    ]


def test_one_bad_file_is_one_line(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.wav"
    assert main(["separate", "--repo", str(released), str(missing), "-o", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"stemgrid: error: {missing}: ")


def test_equal_names_do_not_overwrite_each_other(
    released: Path, song: Path, tmp_path: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    shutil.copy(song, album / "song.wav")
    out = tmp_path / "out"
    files = [str(song), str(album / "song.wav")]
    assert main(["separate", "--repo", str(released), *files, "-o", str(out)]) == 0
    places = sorted(p.relative_to(out).as_posix() for p in out.rglob("vocals.wav"))
    assert places == ["album/song/vocals.wav", "song/vocals.wav"]


def test_a_flipped_byte_in_the_release(
    released: Path, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(released, repo)
    file = next(repo.glob("hdemucs-aaaa1111*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    assert main(["separate", "--repo", str(repo), str(song), "-o", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert file.name in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["nothing", "aaaa", ""])
def test_a_name_that_fits_none_or_two(
    name: str, released: Path, song: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["separate", "--repo", str(released), "-n", name, str(song)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "hdemucs-aaaa1111" in lines[0]


def test_clipping_is_told_with_its_remedy(
    released: Path,
    song: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def loud(*_: object) -> ChunkFn:
        return lambda chunks: torch.stack([chunks * 0, torch.full_like(chunks, 30.0)], dim=1)

    monkeypatch.setattr(engines, "bag_chunk_fn", loud)
    command = ["separate", "--repo", str(released), str(song), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert told.startswith("stemgrid: warning: ")
    assert "40022 of vocals; --format wav32 keeps them" in told
    assert "drums" not in told
    assert main([*command, "--format", "wav32"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_no_partial_file(
    sent: signal.Signals,
    code: int,
    released: Path,
    song: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_audio(song, torch.zeros(2, 300 * 6000), 8000)
    calls = 0

    def interrupted(chunks: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), sent)
        return torch.stack([chunks, chunks], dim=1)

    monkeypatch.setattr(engines, "bag_chunk_fn", lambda *_: interrupted)
    before = sorted(tmp_path.rglob("*"))
    # A shell starts what runs in the background with SIGINT ignored, and Python leaves it so.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    command = ["separate", "--repo", str(released), str(song), "-o", str(tmp_path / "out")]
    command += ["--backend", "torch"]  # the song is long enough for an export
    try:
        answer: object = main(command)
    except SystemExit as stopped:
        answer = stopped.code
    finally:
        left = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGINT, inherited)
    assert answer == code
    assert calls < 100  # of 300: the thread goes on until its next block only
    assert sorted(tmp_path.rglob("*")) == before
    assert left == handlers


def test_models_lists_what_a_repo_holds(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--repo", str(released)]) == 0
    root, head, *rows, note = capsys.readouterr().out.splitlines()
    assert root == f"{released}:"
    assert head.split() == ["NAME", "ARCH", "SOURCES", "RATE", "PARAMETERS", "SCORES", "(MEAN)"]
    assert [row.startswith("*") for row in rows] == [True, False, False, False]
    parameters = sum(p.numel() for p in resolve("model", "hdemucs").tiny(SPEC).parameters())
    assert rows[0].split()[1].startswith("hdemucs-aaaa1111-")
    assert rows[0].split()[2:] == [
        "hdemucs",
        "drums,vocals",
        "8000",
        "Hz",
        f"{parameters:,}",
        "nsdr/demo/test",
        "2.50",
    ]
    assert rows[3].split() == ["both", "bag"]
    assert "-n" in note


BLOCKED = """
import sys

class Blocked:
    names = {
        "hydra", "omegaconf", "dora", "submitit", "musdb", "museval", "matplotlib", "pandas",
        "torchaudio",
    }

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"separation imports {name}")

sys.meta_path.insert(0, Blocked())
from mss.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_separation_imports_no_training_package(
    released: Path, song: Path, tmp_path: Path, repository: Path
) -> None:
    mp3 = tmp_path / "other.mp3"
    write_audio(mp3, torch.zeros(2, 9000), 44100)
    command = [sys.executable, "-c", BLOCKED, "separate", "--repo", str(released)]
    done = subprocess.run(
        [*command, str(song), str(mp3), "-o", str(tmp_path / "out")],
        cwd=repository,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["other", "song"]


def test_the_block_works() -> None:
    """The test above would pass unseen if its finder let everything through."""
    code = BLOCKED.replace("from mss.cli.main import main", "import hydra")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "separation imports hydra" in done.stderr
