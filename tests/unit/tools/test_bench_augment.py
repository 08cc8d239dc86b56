"""The sides of the comparison do the work that they are timed for."""

import pytest

from mss.core.stretch import Stretcher
from mss.core.stretch_program import SoundstretchProgram, find_program
from mss.core.stretch_signalsmith import SignalsmithStretcher
from tools.bench_augment import AUGMENT_PAIRS


@pytest.mark.parametrize("backend", [SoundstretchProgram, SignalsmithStretcher])
def test_every_stem_of_every_segment_is_stretched_by_the_backend_of_the_side(
    backend: type[Stretcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend is SoundstretchProgram and find_program() is None:
        pytest.skip("the program soundstretch is not on the PATH (apt install soundstretch)")
    seen = []
    real = backend._stretch

    def counted(self, *args):  # type: ignore[no-untyped-def]
        seen.append(args[0].shape)
        return real(self, *args)

    monkeypatch.setattr(backend, "_stretch", counted)
    (pair,) = (pair for pair in AUGMENT_PAIRS if pair.name == "stretch")
    side = pair.ours if backend is SoundstretchProgram else pair.peer
    done = side({"seconds": 0.2})()
    assert len(seen) == 4 * done
    assert all(shape[0] == 2 and shape[1] >= 0.88 * 0.2 * 44100 for shape in seen)
