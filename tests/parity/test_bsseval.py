"""BSS-eval v4 equals museval 0.4.1, degenerate cases included."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mss.core.audio_io import read_audio
from mss.core.errors import DataError
from mss.metrics.base import FrameScores, FramewiseMetric
from mss.metrics.bsseval import bss_eval, bss_eval_ratios
from mss.metrics.bsseval_metric import CSDR, BSSEval
from mss.metrics.museval_backend import Museval, museval_ratios

pytestmark = pytest.mark.parity

WINDOW = 4000
NAMES = ("sdr", "isr", "sir", "sar")

NOTHING = 150.0
"""dB: where both say that a part is this far below, it is rounding alone."""


def in_16_bits(audio: Tensor) -> Tensor:
    return torch.round(audio * 32768) / 32768


def songs(sources: int, channels: int, length: int = 9100, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return coloured references and impure estimates [S, C, T], in 16 bits."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(sources, channels, length, generator=generator)
    reference = in_16_bits(0.1 * (noise + noise.roll(1, -1)))
    artefacts = 0.02 * torch.randn(sources, channels, length, generator=generator)
    leak = 0.2 * reference.roll(1, 0) if sources > 1 else 0
    return reference, in_16_bits(0.8 * reference.roll(3, -1) + leak + artefacts)


def museval_layout(audio: Tensor) -> np.ndarray:
    return audio.double().numpy().transpose(0, 2, 1)


def assert_equal_to_museval(
    reference: Tensor, estimate: Tensor, window: float = WINDOW, hop: float = WINDOW
) -> dict[str, np.ndarray]:
    arrays = museval_layout(reference), museval_layout(estimate)
    ours = bss_eval(*arrays, window=window, hop=hop)
    theirs = museval_ratios(*arrays, window, hop)
    for name, our, their in zip(NAMES, ours, theirs, strict=True):
        assert our.shape == their.shape, name
        assert (np.isnan(our) == np.isnan(their)).all(), name
        compared = ~np.isnan(our) & ~((our > NOTHING) & (their > NOTHING))
        assert (np.abs(our[compared] - their[compared]) < 1e-3).all(), (our, their)
    return dict(zip(NAMES, ours, strict=True))


@pytest.mark.parametrize(("sources", "channels"), [(1, 2), (2, 1), (2, 2), (4, 2), (6, 1)], ids=str)
def test_mixtures(sources: int, channels: int) -> None:
    values = assert_equal_to_museval(*songs(sources, channels, seed=sources))
    assert values["sar"].shape == (sources, 2)
    assert np.isfinite(values["sar"]).all()


@pytest.mark.parametrize(
    ("window", "hop"), [(WINDOW, 1500), (4000.5, 1500.3), (20000, 20000), (np.inf, np.inf)]
)
def test_framings(window: float, hop: float) -> None:
    assert_equal_to_museval(*songs(2, 2), window, hop)


def test_a_silent_frame_is_nan_for_every_source() -> None:
    reference, estimate = songs(2, 2)
    reference[1, :, :WINDOW] = 0
    values = assert_equal_to_museval(reference, estimate)
    for name in NAMES:
        assert np.isnan(values[name]).tolist() == [[True, False]] * 2
    # a source whose channels cancel is silent to museval, and so is a silent estimate
    reference, estimate = songs(2, 2)
    reference[0, 1, :WINDOW] = -reference[0, 0, :WINDOW]
    estimate[1, :, WINDOW : 2 * WINDOW] = 0
    values = assert_equal_to_museval(reference, estimate)
    assert np.isnan(values["sdr"]).all()


def test_a_silent_stem_is_refused_as_museval_does() -> None:
    reference, estimate = songs(2, 2)
    reference[1] = 0
    arrays = museval_layout(reference), museval_layout(estimate)
    with pytest.raises(ValueError, match="non-silent"):
        museval_ratios(*arrays, WINDOW, WINDOW)
    with pytest.raises(DataError, match="a reference is silent throughout"):
        bss_eval(*arrays)


def test_the_estimate_is_the_reference() -> None:
    reference, _ = songs(2, 2)
    values = assert_equal_to_museval(reference, reference)
    assert (values["sdr"] == np.inf).all()
    assert (values["sir"] > 200).all()


def test_the_estimate_is_the_mixture() -> None:
    reference, _ = songs(2, 2)
    mixture = reference.sum(0, keepdim=True).expand_as(reference)
    values = assert_equal_to_museval(reference, mixture)
    assert (values["sar"] > 200).all()  # the mixture has no artefacts
    assert (values["sir"] < 3).all()


def test_shorter_than_a_window_and_than_a_filter() -> None:
    for length in (3000, 700):
        values = assert_equal_to_museval(*songs(2, 1, length))
        assert values["sdr"].shape == (2, 1)


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_references_that_depend_on_each_other(share: float) -> None:
    reference, estimate = songs(2, 2)
    reference[1, 1] = share * reference[1, 0]  # a mono instrument; a silent channel
    assert_equal_to_museval(reference, estimate)
    assert bss_eval_ratios(reference, estimate, WINDOW, WINDOW).well_determined


@pytest.mark.shared_data
def test_a_real_song(shared_data: Path) -> None:
    folder = shared_data / "train" / "Potassium"
    stems = [read_audio(folder / f"{name}.flac")[0] for name in ("drums", "bass", "other")]
    reference = torch.stack(stems)[..., 44100 * 40 : 44100 * 43]
    estimate = 0.7 * reference + 0.2 * reference.sum(0).roll(40, -1)
    assert_equal_to_museval(reference, in_16_bits(estimate), 44100, 44100)


def scores(metric: FramewiseMetric, reference: Tensor, estimate: Tensor) -> FrameScores:
    return metric.frames(reference, estimate, WINDOW)


def test_the_metrics_give_the_reference_backends_numbers() -> None:
    reference, estimate = songs(2, 2)
    reference[1, :, :WINDOW] = 0
    ours = scores(BSSEval(), reference, estimate)
    theirs = scores(Museval(), reference, estimate)
    assert not ours.remarks
    for our, their in zip(ours.values.values(), theirs.values.values(), strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=1e-6, equal_nan=True)
    alone = scores(CSDR(), reference, estimate).values
    assert list(alone) == ["csdr"]
    # 4e-15 dB: the same energies
    torch.testing.assert_close(
        alone["csdr"], theirs.values["museval_sdr"], rtol=0, atol=1e-13, equal_nan=True
    )
    for metric in (BSSEval(), Museval()):  # a stem that is silent throughout: no frame is left
        for values in scores(metric, reference * 0, estimate).values.values():
            assert values.shape == (2, 2)
            assert values.isnan().all()
