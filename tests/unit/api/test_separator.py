"""`mss.Separator`: arrays, files and streams through one model."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mss
from mss.api import separator as documented
from mss.api.options import OutputOptions, SeparationOptions
from mss.api.separator import SongSeparator
from mss.core.audio_io import read_audio, write_audio
from mss.core.errors import ConfigError, DataError, StemgridError
from mss.infer.bag import bag_chunk_fn
from mss.infer.separate import separate
from mss.release.repo import Repo


@pytest.fixture(scope="module")
def separator(released: Path) -> SongSeparator:
    return SongSeparator(repo=released, device="cpu")


def test_the_documented_examples(
    released: Path, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(song.parent)
    monkeypatch.setenv("STEMGRID_REPO", str(released))
    failed, tried = doctest.testmod(documented)
    assert (failed, tried > 15) == (0, True)


def test_the_examples_of_the_readme(
    repository: Path, released: Path, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "album").mkdir()
    mix, rate = read_audio(song)
    for name in ("song.flac", "album/one.wav"):
        write_audio(tmp_path / name, mix, rate, "PCM_16")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEMGRID_REPO", str(released))
    readme = (repository / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Separate\n")[2].partition("\n## ")[0]
    names: dict[str, object] = {}
    exec(section.partition("```python\n")[2].partition("```")[0], names)
    assert list(names["stems"]) == ["vocals", "no_vocals"]  # type: ignore[call-overload]
    assert names["samplerate"] == rate
    assert isinstance(names["out"], torch.Tensor)
    assert names["out"].shape[:2] == (2, 2)
    written = sorted(path.name for path in (tmp_path / "stems" / "one").iterdir())
    assert written == ["no_vocals.wav", "vocals.wav"]


def test_import_mss_imports_no_torch(repository: Path) -> None:
    code = (
        "import sys, mss; from mss import SeparationOptions, OutputOptions\n"
        "assert 'Separator' in dir(mss)\n"
        "assert 'torch' not in sys.modules\n"
        "from mss import Separator\n"
        "assert 'torch' in sys.modules and Separator is mss.Separator"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_mss_does_not_have() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Seperator'"):
        _ = mss.Seperator  # type: ignore[attr-defined]


def test_an_array_equals_the_library(separator: SongSeparator, released: Path, song: Path) -> None:
    mix, rate = read_audio(song)
    stems = separator.separate(mix, rate)
    release = Repo(released).load()
    expected = separate(bag_chunk_fn(release.members), release.spec, release.inference, mix)
    assert list(stems) == ["drums", "vocals"]
    torch.testing.assert_close(torch.stack(list(stems.values())), expected, atol=1e-6, rtol=1e-5)
    from_file, file_rate = separator.separate_file(song)
    assert file_rate == rate
    for name, stem in stems.items():
        assert torch.equal(from_file[name], stem)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("channels", "rate"), [(1, 8000), (2, 11025), (6, 8000)])
def test_numpy_in_numpy_out(
    separator: SongSeparator, dtype: type, channels: int, rate: int
) -> None:
    mix = 0.1 * np.random.default_rng(0).standard_normal((channels, 3001)).astype(dtype)
    before = mix.copy()
    for stem in separator.separate(mix, rate).values():
        assert isinstance(stem, np.ndarray)
        assert (stem.shape, stem.dtype) == (mix.shape, mix.dtype)
    assert np.array_equal(mix, before)


@pytest.mark.parametrize("frames", [0, 1])
def test_short_arrays(separator: SongSeparator, frames: int) -> None:
    stems = separator.separate(torch.zeros(2, frames), 44100)
    assert [stem.shape for stem in stems.values()] == [(2, frames)] * 2


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(100), r"is \[100\]"),
        (np.zeros((2, 100), dtype=np.int16), "int16"),
        (torch.tensor([[0.0, float("inf")]]), "infinity"),
        ([[0.0, 0.0]], "audio: is a list"),
        (np.zeros((44100, 2)), r"44100 channels.*give \[channels, samples\]"),
    ],
)
def test_arrays_that_are_refused(
    separator: SongSeparator, audio: torch.Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        separator.separate(audio, 8000)


@pytest.mark.parametrize("rate", [0, -8000, 8000.5, float("nan"), "8000", True])
def test_sample_rates_that_are_refused(separator: SongSeparator, rate: Any) -> None:
    with pytest.raises(ConfigError, match="samplerate: "):
        separator.separate(torch.zeros(2, 100), rate)


def test_a_whole_float_is_a_sample_rate(separator: SongSeparator) -> None:
    mix = torch.rand(2, 3000, generator=torch.Generator().manual_seed(0))
    as_float = separator.separate(mix, 11025.0)  # type: ignore[arg-type]
    assert torch.equal(as_float["drums"], separator.separate(mix, 11025)["drums"])


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True])
def test_numbers_of_jobs_that_are_refused(
    separator: SongSeparator, song: Path, tmp_path: Path, jobs: Any
) -> None:
    with pytest.raises(ConfigError, match="jobs: "):
        separator.separate_to(song, tmp_path / "out", jobs=jobs)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["hdemucs-aaaa1111", "openunmix"])
def test_a_stream_equals_the_array(name: str, released: Path, song: Path) -> None:
    separator = SongSeparator(name, released, "cpu")
    mix, rate = read_audio(song)
    session = separator.stream(rate, 2, like=mix)
    parts = [session.feed(block) for block in mix.split(1234, dim=-1)]
    streamed = torch.cat([*parts, session.flush()], dim=-1)
    expected = torch.stack(list(separator.separate(mix, rate).values()))
    torch.testing.assert_close(streamed, expected, atol=1e-6, rtol=1e-5)
    assert session.latency is not None
    assert session.latency >= rate


def test_a_bag_and_options_by_name(released: Path, song: Path) -> None:
    options = SeparationOptions(two_stems="vocals", segment="0.5", overlap=0.5, residual=True)
    separator = SongSeparator("both", released, "cpu", options)
    assert separator.sources == ("vocals", "no_vocals", "residual")
    setup = separator.setup(jobs=2)
    assert (setup.model, setup.segment, setup.overlap, setup.jobs) == ("both", 0.5, 0.5, 2)
    stems, _ = separator.separate_file(song)
    mix, _ = read_audio(song)
    torch.testing.assert_close(stems["vocals"] + stems["no_vocals"], mix, atol=1e-6, rtol=0)


def test_the_whole_song_at_once(released: Path, song: Path) -> None:
    separator = SongSeparator(None, released, "cpu", SeparationOptions(segment="whole"))
    assert separator.setup().segment is None
    assert "the whole song at once" in str(separator.setup())
    assert separator.separate_file(song)[0]["drums"].shape == (2, 20011)


def test_progress_tells_share_and_time(separator: SongSeparator) -> None:
    told: list[tuple[float, float | None]] = []
    mix = torch.zeros(2, 140_000)
    separator.separate(mix, 8000, lambda share, left: told.append((share, left)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert told[-1] == (1.0, 0.0)
    assert len(told) > 2


def test_what_progress_raises_ends_the_work(separator: SongSeparator, tmp_path: Path) -> None:
    def stop(share: float, left: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        separator.separate(torch.zeros(2, 140_000), 8000, stop)


def test_files_that_fail_are_named_after_the_others_are_done(
    separator: SongSeparator, song: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    with pytest.raises(StemgridError, match=r"1 of 2 files[^\n]*\n  .*bad\.wav: "):
        separator.separate_to([bad, song], tmp_path / "out")
    assert (tmp_path / "out" / "song" / "drums.wav").is_file()
    output = OutputOptions(skip_existing=True)
    assert separator.separate_to(song, tmp_path / "out", output) == []


def test_threads_are_as_they_were(released: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    options = SeparationOptions(threads=before + 1)
    separator = SongSeparator("openunmix", released, "cpu", options)
    short = tmp_path / "short.wav"
    write_audio(short, torch.zeros(2, 10), 8000)
    seen: list[int] = []
    separator.separate_file(short, lambda share, left: seen.append(torch.get_num_threads()))
    assert set(seen) == {before + 1}
    separator.separate_to(short, tmp_path / "out")
    assert torch.get_num_threads() == before


def test_an_unknown_stem_names_the_known(released: Path) -> None:
    with pytest.raises(ConfigError, match="vocals"):
        SongSeparator(None, released, "cpu", SeparationOptions(stems=("vocal",)))
