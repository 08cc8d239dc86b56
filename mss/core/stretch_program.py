"""soundstretch, the program of the library SoundTouch: it joins pieces of a recording (WSOLA).

Seen with 2.3.2: 16-bit PCM goes in and out; a WAV of floats is taken for integers, without a word;
written to its standard output, a WAV has a length of zero. So it gets files of 16-bit PCM. They
have no name: nothing is left of them however a process ends, were it killed.

Pieces are some 70 ms long (for speech 40), are moved by up to 17 ms until they fit, and are played
at their own speed. So what lies in the middle of one comes early or late: within 12 % and two
semitones, onsets of drums came 13 ms early to 6 ms late in the mean of a recording. And a sine of
less than 70 Hz (for speech 110 Hz), of which no period fits, may come out 20 cents off and more.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import IO

import numpy as np
import numpy.typing as npt

from mss.core.errors import ConfigError, DataError
from mss.core.stretch import Samples, Stretcher

PROGRAM = "soundstretch"
INSTALL = "install it (apt install soundstretch, conda install -c conda-forge soundtouch)"

_FULL_SCALE = 32768
"""A recording's peak is a quarter of it, so the noise of rounding lies 89 dB below that peak."""

_SECONDS = 60.0
"""How long the program may take, and in addition as long as the recording lasts; it is about 150
times faster."""

_SCHEDULERS_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")


def find_program() -> str | None:
    """Return the path of soundstretch; None where there is none that could be used.

    It is handed open files as /dev/fd/N, so not on Windows.
    """
    return shutil.which(PROGRAM) if os.name == "posix" else None


class SoundstretchProgram(Stretcher):
    """The program soundstretch, a process for each recording.

    Args:
        path: of the program.
        seconds: how long it may take, beside the duration of the recording.
    """

    name = "soundstretch"

    def __init__(self, path: str, seconds: float = _SECONDS) -> None:
        self.path = path
        self.seconds = seconds

    @cached_property
    def version(self) -> str:
        printed = self._run([], seconds=self.seconds).stderr
        found = re.search(r"SoundStretch v([\w.]+)", printed)
        return found[1] if found else "of an unknown version"

    def _stretch(
        self, samples: Samples, samplerate: int, semitones: float, tempo: float, speech: bool
    ) -> Samples:
        integers = np.rint(samples.T * _FULL_SCALE).astype(np.int16)  # [T, C]
        options = [f"-pitch={semitones:.6f}", f"-tempo={tempo:.6f}"]
        if speech:
            options.append("-speech")
        seconds = self.seconds + len(integers) / samplerate
        try:
            with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as result:
                _write(source, integers, samplerate)
                self._change(source, result, options, seconds)
                return self._read(result, samplerate) / np.float32(_FULL_SCALE)
        except OSError as error:
            raise DataError(
                f"{self.path}: its temporary files can't be written ({error.strerror}); make room,"
                " or name another folder in TMPDIR"
            ) from error

    def _change(
        self, source: IO[bytes], result: IO[bytes], options: Sequence[str], seconds: float
    ) -> None:
        files = (source.fileno(), result.fileno())
        done = self._run([*(f"/dev/fd/{number}" for number in files), *options], seconds, files)
        if done.returncode == 0:
            return
        how = f"status {done.returncode}"
        if done.returncode < 0:
            how = f"signal {-done.returncode}"
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise DataError(
            f"{self.path}: failed with {how} ({last}); try it by hand, or take python-stretch"
        )

    def _read(self, result: IO[bytes], samplerate: int) -> Samples:
        """Return the samples [C, n] that the program has written, in steps of 16 bits."""
        try:
            with wave.open(result, "rb") as file:
                form = file.getsampwidth(), file.getframerate()
                written = file.readframes(file.getnframes())
                channels = file.getnchannels()
        except (wave.Error, EOFError) as error:
            raise DataError(
                f"{self.path}: what it wrote is no WAV file ({error or 'too short'}); {INSTALL}"
            ) from error
        if form != (2, samplerate):
            raise DataError(
                f"{self.path}: wrote {8 * form[0]} bits at {form[1]} Hz in place of 16 bits at"
                f" {samplerate} Hz; {INSTALL}"
            )
        integers = np.frombuffer(written, dtype="<i2").reshape(-1, channels)
        return np.ascontiguousarray(integers.T, dtype=np.float32)

    def _run(
        self, arguments: Sequence[str], seconds: float, files: tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the program; `files` are the open files that it may use."""
        command = [self.path, *arguments]
        try:
            with _signals_held_back():
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=files,
                    text=True,
                    errors="replace",
                )
        except OSError as error:
            raise ConfigError(
                f"{self.path}: the program can't be started ({error.strerror}); {INSTALL}"
            ) from error
        with process:
            try:
                printed = process.communicate(timeout=seconds)[1]
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise DataError(
                    f"{self.path}: did not end within {seconds:.0f} s; try it by hand, or"
                    " take python-stretch"
                ) from error
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, stderr=printed)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let a process that is started now live through a scheduler's signals and Ctrl-C.

    They reach every process of a job, and the run goes on from them to its next checkpoint. A new
    process takes over which signals are blocked.
    """
    signals = {getattr(signal, name) for name in _SCHEDULERS_SIGNALS}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _write(file: IO[bytes], integers: npt.NDArray[np.int16], samplerate: int) -> None:
    """Write samples [T, C] as a WAV file of 16-bit PCM."""
    with wave.open(file, "wb") as writer:
        writer.setparams((integers.shape[1], 2, samplerate, len(integers), "NONE", ""))
        writer.writeframes(integers.astype("<i2").tobytes())
    file.flush()
