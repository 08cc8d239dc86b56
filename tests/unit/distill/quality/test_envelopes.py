"""Log-mel envelopes: identical ones, independent ones, and numpy as a second implementation."""

import numpy as np
import pytest
import torch

from mss.distill.quality.envelopes import EnvelopeMoments, LogMel

RATE = 8000


def bursts(seed, seconds=8):
    """Noise whose level changes every quarter of a second, [1, T]."""
    generator = torch.Generator().manual_seed(seed)
    levels = 10 ** (-2 * torch.rand(seconds * 4, generator=generator))
    noise = torch.randn(seconds * RATE, generator=generator)
    return (noise * levels.repeat_interleave(RATE // 4))[None]


def strongest(stems):
    mix = stems.sum(dim=0)
    return EnvelopeMoments.of(LogMel(RATE)(stems, mix)).strongest()


def test_identical_envelopes_are_fully_correlated_at_any_level():
    wave = bursts(0)
    assert strongest(torch.stack([wave, 0.5 * wave])).tolist() == pytest.approx([1, 1], abs=1e-6)


def test_independent_envelopes_are_not():
    found = strongest(torch.stack([bursts(0), bursts(1)]))
    assert (found < 0.4).all()


def test_leakage_raises_the_correlation_of_both():
    one, two = bursts(0), bursts(1)
    found = strongest(torch.stack([one + 0.3 * two, two + 0.3 * one]))
    assert (found > strongest(torch.stack([one, two])) + 0.2).all()


def test_each_stem_has_the_strongest_of_the_others():
    one, two = bursts(0), bursts(1)
    found = strongest(torch.stack([one, two, one]))
    assert found[[0, 2]].tolist() == pytest.approx([1, 1])
    assert found[1] < 0.4


def test_the_level_of_the_recording_does_not_matter():
    stems = torch.stack([bursts(0), bursts(1)])
    torch.testing.assert_close(strongest(0.01 * stems), strongest(stems), atol=1e-4, rtol=0)


def test_what_does_not_move_has_no_envelope():
    wave = bursts(0)
    assert strongest(torch.stack([wave, torch.zeros_like(wave)])).isnan().all()
    assert strongest(wave[None]).isnan().all()  # no other stem
    assert strongest(torch.zeros(2, 1, RATE)).isnan().all()


def test_moments_of_parts_add_up_and_give_numpys_correlation():
    envelopes = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0)).double() - 60
    parts = [EnvelopeMoments.of(part) for part in envelopes.split(15, dim=-1)]
    found = (parts[0] + parts[1] + parts[2]).correlations()
    centred = envelopes - envelopes.mean(dim=-1, keepdim=True)
    expected = np.corrcoef(centred.flatten(1).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("samplerate", [1000, 8000, 44100, 48000])
def test_any_sample_rate_has_bands(samplerate):
    stems = torch.randn(2, 2, samplerate, generator=torch.Generator().manual_seed(0))
    envelopes = LogMel(samplerate)(stems, stems.sum(dim=0))
    assert envelopes.shape[0] == 2 and envelopes.shape[1] > 10
    assert envelopes.isfinite().all()
