"""Frames and undefined frames. Its numbers are compared in tests/parity/test_museval.py."""

import sys
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.metrics import museval_backend
from mss.metrics.museval_backend import MEASURES, Museval, MusevalConfig

RATE = 1000


def example(frames: float = 3.4) -> tuple[Tensor, Tensor]:
    """Return references and estimates [2, 1, T]."""
    generator = torch.Generator().manual_seed(0)
    length = int(frames * RATE)
    reference = torch.randn(2, 1, length, generator=generator) * 0.1
    return reference, reference + 0.03 * torch.randn(2, 1, length, generator=generator)


def test_sdr_of_a_frame_is_its_energy_ratio() -> None:
    reference, estimate = example()
    frames = Museval().frames(reference, estimate, RATE).values
    assert tuple(frames) == MEASURES
    sdr = frames["museval_sdr"]
    assert sdr.shape == (2, 3)  # what is left after the last whole second is not seen
    for frame in range(3):
        span = slice(frame * RATE, (frame + 1) * RATE)
        s, e = reference.double()[..., span], estimate.double()[..., span]
        ratio = s.square().sum(dim=(1, 2)) / (s - e).square().sum(dim=(1, 2))
        torch.testing.assert_close(sdr[:, frame], 10 * ratio.log10(), rtol=0, atol=1e-9)


def test_a_silent_stem_leaves_out_the_frame_for_all() -> None:
    reference, estimate = example()
    reference[1, :, RATE : 2 * RATE] = 0
    estimate[0, :, : RATE // 2] = 0  # half a frame is not silent
    metric = Museval()
    frames = metric.frames(reference, estimate, RATE).values
    for values in frames.values():
        assert values.isnan().tolist() == [[False, True, False]] * 2
    sdr = metric.score(reference, estimate, RATE)["museval_sdr"]
    torch.testing.assert_close(sdr, frames["museval_sdr"][:, [0, 2]].mean(dim=1))


@pytest.mark.parametrize("which", ["reference", "estimate"])
def test_a_stem_that_is_silent_throughout_leaves_no_score(which: str) -> None:
    reference, estimate = example()
    (reference if which == "reference" else estimate)[1] = 0
    frames = Museval().frames(reference, estimate, RATE).values
    assert all(values.shape == (2, 3) and values.isnan().all() for values in frames.values())
    scores = Museval().score(reference, estimate, RATE)
    assert all(values.isnan().all() for values in scores.values())


def test_frames_overlap_as_told() -> None:
    reference, estimate = example()
    config = MusevalConfig(window=Fraction(2), hop=Fraction(1, 2))
    assert Museval(config).frames(reference, estimate, RATE).values["museval_sdr"].shape == (2, 3)
    short = slice(0, RATE // 2)
    frames = Museval().frames(reference[..., short], estimate[..., short], RATE)
    assert frames.values["museval_sdr"].shape == (2, 1)
    silent = torch.zeros_like(reference)
    assert Museval(config).frames(silent, estimate, RATE).values["museval_sdr"].shape == (2, 3)


def test_it_brings_no_data_set_package_in(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, estimate = example(1)
    for name in ("museval", "musdb", "stempeg"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    Museval().frames(reference, estimate, RATE)
    assert not {"museval", "musdb", "stempeg"} & set(sys.modules)


def test_without_museval_the_message_tells_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(museval_backend.importlib.util, "find_spec", lambda name: None)
    museval_backend.load_museval_metrics.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'stemgrid\[train\]'"):
        Museval().frames(*example(1), RATE)
