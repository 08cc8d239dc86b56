"""One class that separates arrays, files, many files and streams: `mss.Separator`.

The examples take the default model of ./release_models.

>>> from mss import Separator
>>> separator = Separator(device="cpu")
>>> separator.sources
('drums', 'vocals')

Arrays in, arrays of the same kind out:

>>> import numpy
>>> mix = numpy.zeros((2, 44100), dtype="float32")
>>> stems = separator.separate(mix, 44100)
>>> {name: stem.shape for name, stem in stems.items()}
{'drums': (2, 44100), 'vocals': (2, 44100)}

A file to arrays, or to files:

>>> stems, samplerate = separator.separate_file("song.wav")
>>> samplerate, stems["vocals"].shape
(8000, torch.Size([2, 20011]))
>>> from mss import OutputOptions
>>> [done] = separator.separate_to("song.wav", "stems", OutputOptions(format="flac"))
>>> done.stems["vocals"].as_posix()
'stems/song/vocals.flac'

With options, and told how far it is:

>>> from mss import SeparationOptions
>>> options = SeparationOptions(segment=1, overlap=0.5, residual=True)
>>> separator = Separator(options=options, device="cpu")
>>> told = []
>>> stems, _ = separator.separate_file("song.wav", lambda share, left: told.append(share))
>>> list(stems), told[-1]
(['drums', 'vocals', 'residual'], 1.0)

Block by block, as the sound arrives, at the level of what was heard before:

>>> import torch
>>> heard = torch.rand(2, 44100)
>>> session = separator.stream(samplerate=44100, channels=2, like=heard)
>>> parts = [session.feed(torch.zeros(2, 10000)) for _ in range(3)] + [session.flush()]
>>> torch.cat(parts, dim=-1).shape
torch.Size([3, 2, 30000])
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from torch import Tensor

from mss.api.arrays import BLOCK, Audio, from_tensor, separate_blocks, split, to_tensor
from mss.api.device import choose_device, free_memory
from mss.api.engines import BuiltEngine, EngineBuilder, Work
from mss.api.events import Event, Setup, SongDone, SongFailed, SongSkipped
from mss.api.inputs import Found, find_songs
from mss.api.memory import memory_warning
from mss.api.options import OutputOptions, SeparationOptions, whole_number
from mss.api.progress import ProgressFn, with_time_left
from mss.api.run import plan, run_songs
from mss.api.stream import StreamSession
from mss.api.threads import torch_threads
from mss.core.audio_io import open_reader
from mss.core.errors import ConfigError, StemgridError
from mss.infer.files import SeparatedFile
from mss.infer.output_map import with_residual
from mss.release.repo import Repo


class SongSeparator:
    """A released model, or bag of models, ready to separate; `mss.Separator`.

    Args:
        name: full name, signature, alias, or a unique start of one. None: the repo's default.
        repo: folder of released models (None: $STEMGRID_REPO, ./release_models, the user's).
        device: cpu, cuda, cuda:1, mps, or auto: the first accelerator there is.
        options: how the model is run.
        plugins: let an installed plug-in give the model's architecture.

    Attributes:
        model: full name of the model or bag.

    Raises:
        DataError: no such model, or it is damaged.
        ConfigError: no such device, or options that don't fit the model.
    """

    def __init__(
        self,
        name: str | None = None,
        repo: str | os.PathLike[str] | None = None,
        device: str = "auto",
        options: SeparationOptions | None = None,
        *,
        plugins: bool = False,
    ) -> None:
        self.options = options or SeparationOptions()
        self._device = choose_device(device)
        folder = Repo(repo)
        with torch_threads(self.options.threads):
            release = folder.load(name, self._device, plugins)
            self._builder = EngineBuilder(release, self.options, self._device, folder.root, plugins)
        self.model = release.name
        self._take(self._builder.build())

    def _take(self, built: BuiltEngine) -> None:
        self._built = built
        self._engine = with_residual(built.engine) if self.options.residual else built.engine

    def prepare(
        self, seconds: float, longest: float = 0.0, tell: Callable[[str], None] | None = None
    ) -> None:
        """Spend some time on being faster, where that pays for what is going to be separated.

        From 3 minutes of audio on the networks are exported for a faster runtime, once, beside the
        release (about a minute for a large one); threads and batch are tried, once a machine. What
        fails is told, and done without.

        Args:
            seconds: of audio, all songs together.
            longest: seconds of the longest song, for the estimate of memory.
            tell: told in a sentence what takes long or failed; None: nobody.
        """
        work = Work(seconds, longest)
        say = tell or (lambda _: None)
        with torch_threads(self.options.threads):
            if (backend := self._builder.worth_exporting(work)) is not None:
                say(
                    f"exporting {self.model} for {backend}, once: about a minute "
                    "(--backend torch does without)"
                )
                try:
                    self._builder.export(backend)
                except StemgridError as error:
                    say(f"warning: {error}; going on with torch")
            self._builder.prepare(work)
            self._take(self._builder.build())

    def memory_warning(self, jobs: int = 1) -> str | None:
        """Return what to tell before `jobs` songs at once, where memory may not be enough."""
        return memory_warning(
            jobs * (self._built.memory_bytes or 0),
            free_memory(self._device),
            whole=self._built.inference.segment is None,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of what comes out, in their order."""
        return self._engine.sources

    def setup(self, jobs: int = 1) -> Setup:
        """Return what runs, for `jobs` songs at once."""
        inference = self._built.inference
        return Setup(
            model=self.model,
            device=str(self._device),
            threads=max(1, self._builder.threads // jobs),
            jobs=jobs,
            backend=self._built.backend,
            batch_size=self._builder.batch_size,
            segment=None if inference.segment is None else float(inference.segment),
            overlap=inference.overlap,
            shifts=self.options.shifts,
            memory_bytes=self._built.memory_bytes,
        )

    def separate(
        self, audio: Audio, samplerate: int, progress: ProgressFn | None = None
    ) -> dict[str, Audio]:
        """Separate a recording in memory.

        Args:
            audio: [C, T] floating point, a torch tensor or a numpy array; full scale 1.0.
            samplerate: Hz; any.
            progress: see mss.api.progress.

        Returns:
            By source [C, T] of the same kind and dtype (a tensor: on the same device).

        Raises:
            DataError: not [C, T] of finite floating-point numbers.
            ConfigError: no such sample rate.
        """
        rate = whole_number("samplerate", samplerate, 1)
        mix = to_tensor(audio)
        with torch_threads(self._builder.threads):
            stems = separate_blocks(
                self._engine,
                lambda: split(mix),
                rate,
                mix.shape[0],
                mix.shape[-1],
                None if progress is None else with_time_left(progress),
            )
        return {
            name: from_tensor(stem, audio) for name, stem in zip(self.sources, stems, strict=True)
        }

    def separate_file(
        self, path: str | os.PathLike[str], progress: ProgressFn | None = None
    ) -> tuple[dict[str, Tensor], int]:
        """Separate a file into memory; return [C, T] float32 by source, and the sample rate in Hz.

        `separate_to` needs memory for a few seconds only.

        Raises:
            DataError: the file can't be read.
        """
        with open_reader(path, check_finite=True) as reader, torch_threads(self._builder.threads):
            info = reader.info
            stems = separate_blocks(
                self._engine,
                lambda: reader.blocks(BLOCK),
                info.samplerate,
                info.channels,
                info.frames,
                None if progress is None else with_time_left(progress),
            )
        return dict(zip(self.sources, stems, strict=True)), info.samplerate

    def separate_to(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        out: str | os.PathLike[str],
        output: OutputOptions | None = None,
        *,
        jobs: int = 1,
    ) -> list[SeparatedFile]:
        """Separate files, and folders of files, to files; return what became of each.

        Songs that are skipped are not among them. `run` tells what happens meanwhile.

        Args:
            paths: as mss.api.inputs.find_songs takes them.
            out: folder; is created.
            output: how the stems are written.
            jobs: songs separated at once.

        Raises:
            StemgridError: songs that can't be separated, named after the others are done.
            ConfigError: jobs is no number of songs.
        """
        jobs = whole_number("jobs", jobs, 1)
        named = [paths] if isinstance(paths, str | os.PathLike) else paths
        done: list[SeparatedFile] = []
        failed: list[str] = []
        total = 0
        for event in self.run(find_songs(named, out), out, output, jobs=jobs):
            if isinstance(event, SongDone):
                done.append(event.result)
            elif isinstance(event, SongFailed):
                failed.append(event.error)
            total += isinstance(event, SongDone | SongFailed | SongSkipped)
        if failed:
            raise StemgridError(failure_message(failed, total))
        return done

    def check_places(
        self, found: Found, out: str | os.PathLike[str], output: OutputOptions | None = None
    ) -> None:
        """Raise the ConfigError that `run` would raise at its start."""
        plan(self.sources, self.model, found, Path(out), output or OutputOptions())

    def run(
        self,
        found: Found,
        out: str | os.PathLike[str],
        output: OutputOptions | None = None,
        *,
        jobs: int = 1,
    ) -> Generator[Event, None, None]:
        """Separate songs to files and yield what happens; see mss.api.run.run_songs."""
        whole_number("jobs", jobs, 1)
        with torch_threads(self.options.threads):
            engine = self._builder.build(jobs).engine
        return run_songs(
            engine,
            self.sources,
            self.setup(jobs),
            found,
            Path(out),
            output or OutputOptions(),
            self.options.residual,
        )

    def stream(self, samplerate: int, channels: int, like: Tensor | None = None) -> StreamSession:
        """Return a session: feed([C, n]) -> [S, C, m], flush(), and latency in samples.

        Args:
            samplerate: Hz.
            channels: of the recording.
            like: [C, T], any T: the recording, or one of the same level. A model that normalises by
                the whole recording has to hear it before the first block.

        Raises:
            ConfigError: the model needs `like`, or it is of other channels; no such sample rate.
            DataError: so many channels have no known layout; `like` is no recording.
        """
        samplerate = whole_number("samplerate", samplerate, 1)
        channels = whole_number("channels", channels, 1)
        heard = None if like is None else to_tensor(like, "like")
        if heard is not None and len(heard) != channels:
            raise ConfigError(
                f"like: is of {len(heard)} channels, but channels={channels}; give a recording "
                "of as many"
            )
        first_pass = self._engine.first_pass(samplerate, channels)
        if first_pass is None:
            return StreamSession(self._engine.session(samplerate, channels), channels)
        if heard is None:
            raise ConfigError(
                f"like: {self.model} normalises by the whole recording; give one of the same level"
            )
        for block in split(heard):
            first_pass.feed(block)
        session = self._engine.session(samplerate, channels, first_pass.finish())
        return StreamSession(session, channels)


def failure_message(failed: Sequence[str], total: int) -> str:
    """Return what to tell of the songs that failed, of `total`."""
    if len(failed) == total == 1:
        return failed[0]
    listed = "".join(f"\n  {failure}" for failure in failed)
    return f"{len(failed)} of {total} files could not be separated:{listed}"
