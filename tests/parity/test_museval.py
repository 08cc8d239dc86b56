"""The BSS-eval backend equals museval as its users call it."""

import sys
from types import ModuleType

import pytest
import torch
from einops import rearrange

from mss.metrics.museval_backend import MEASURES, Museval


@pytest.mark.parity
@pytest.mark.parametrize("channels", [1, 2])
def test_equals_museval_evaluate(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # museval imports musdb, whose reader of .stem.mp4 refuses to load without an ffmpeg program
    monkeypatch.setitem(sys.modules, "musdb", ModuleType("musdb"))
    import museval

    samplerate = 4000
    generator = torch.Generator().manual_seed(channels)
    noise = torch.randn(2, channels, 3 * samplerate + 100, generator=generator)
    # coloured, so that the filters have something to fit
    reference = 0.1 * (noise + noise.roll(1, dims=-1))
    estimate = 0.8 * reference + 0.2 * reference.flip(0) + 0.02 * noise.roll(5, dims=-1)
    reference[1, :, :samplerate] = 0

    frames = Museval().frames(reference, estimate, samplerate).values
    expected = museval.evaluate(
        rearrange(reference, "s c t -> s t c").double().numpy(),
        rearrange(estimate, "s c t -> s t c").double().numpy(),
        win=samplerate,
        hop=samplerate,
    )
    assert frames["museval_sdr"].isnan()[:, 0].all()
    assert not frames["museval_sdr"][:, 1:].isnan().any()
    for name, values in zip(MEASURES, expected, strict=True):
        # the same operations on the same numbers
        torch.testing.assert_close(
            frames[name], torch.from_numpy(values), rtol=0, atol=0, equal_nan=True
        )
