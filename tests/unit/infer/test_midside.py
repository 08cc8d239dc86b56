from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.infer.midside import CentredDialogue, MidSide

MONO = AudioSpec(("speech", "music", "effects"), samplerate=8000, channels=1)
FRAMES = 2000


def noise(seed: int) -> Tensor:
    return torch.randn(FRAMES, generator=torch.Generator().manual_seed(seed))


def bent(chunks: Tensor) -> Tensor:
    """Three stems that are no linear function of the mixture."""
    return torch.stack([chunks.tanh(), chunks.square(), chunks.exp() - 1], dim=1)


def knows(*stems: Tensor) -> Callable[[Tensor], Tensor]:
    """A perfect mono model: finds the gain of each known stem [T] in a mixture of them."""
    basis = torch.stack(stems).double()

    def chunk_fn(chunks: Tensor) -> Tensor:
        gains = torch.linalg.lstsq(basis.T, chunks[:, 0].double().T).solution.T  # [B, S]
        return (gains[..., None] * basis).to(chunks)[:, :, None]

    return chunk_fn


def test_middle_and_side() -> None:
    chunks = torch.stack([noise(0), noise(1)])[None]
    left, right = chunks[0]
    out = MidSide(bent, MONO)
    assert out.spec == AudioSpec(MONO.sources, 8000, 2)
    middle, side = bent(((left + right) / 2)[None, None]), bent(((left - right) / 2)[None, None])
    torch.testing.assert_close(out(chunks)[:, :, 0], (middle + side)[:, :, 0])
    torch.testing.assert_close(out(chunks)[:, :, 1], (middle - side)[:, :, 0])


def test_the_rule_as_it_is_written() -> None:
    """sdx23-aimless: h of L, R, M and S, the dialogue being centred for certain."""
    centre = noise(0)

    def chunk_fn(chunks: Tensor) -> Tensor:
        # the dialogue's estimate is all but equal for left and right, the others are not
        speech = centre + 0.01 * chunks[:, 0]
        return torch.stack([speech, chunks[:, 0].square(), chunks[:, 0].tanh()], 1)[:, :, None]

    chunks = torch.stack([noise(1), noise(2)])[None]
    left, right = chunks[0]
    middle, side = (left + right) / 2, (left - right) / 2
    h = {
        key: chunk_fn(part[None, None])[0, :, 0]
        for key, part in {"L": left, "R": right, "M": middle, "S": side}.items()
    }
    speech, music, effects = 0, 1, 2
    e = side - h["S"][music]
    m = side - h["S"][effects]
    out = CentredDialogue(chunk_fn, MONO)(chunks)[0]
    dialogue = (h["L"][speech] + h["R"][speech] + h["M"][speech]) / 3
    expected = {
        (speech, 0): dialogue,
        (speech, 1): dialogue,
        (effects, 0): ((h["M"][effects] + e) + h["L"][effects]) / 2,
        (effects, 1): ((h["M"][effects] - e) + h["R"][effects]) / 2,
        (music, 0): ((h["M"][music] + m) + h["L"][music]) / 2,
        (music, 1): ((h["M"][music] - m) + h["R"][music]) / 2,
    }
    for (source, channel), wave in expected.items():
        torch.testing.assert_close(out[source, channel], wave, atol=1e-5, rtol=1e-5)


def mixture(left: float, right: float) -> tuple[Tensor, CentredDialogue, Callable[..., Tensor]]:
    """Speech at these gains in panned music and effects, with a model that knows all of them."""
    speech, music, effects = noise(0), noise(1), noise(2)
    chunks = torch.stack(
        [left * speech + music + 0.2 * effects, right * speech + 0.3 * music + effects]
    )[None]
    model = knows(speech, music, effects)
    return chunks, CentredDialogue(model, MONO), model


def test_centred_speech_is_one_for_both_channels() -> None:
    chunks, rule, _ = mixture(1, 1)
    out = rule(chunks)[0]
    torch.testing.assert_close(out[0], noise(0).expand(2, -1), atol=1e-4, rtol=0)
    # a perfect model stays perfect
    torch.testing.assert_close(out[1, 0], noise(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(out[2, 0], 0.2 * noise(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.sum(0), chunks[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("gains", [(1, 0), (1, 0.3), (1, -1), (0, 0)])
def test_elsewhere_left_and_right_stay_as_they_are(gains: tuple[float, float]) -> None:
    chunks, rule, model = mixture(*gains)
    out = rule(chunks)
    for channel in (0, 1):
        alone = model(chunks[:, channel : channel + 1])[:, :, 0]
        torch.testing.assert_close(out[:, :, channel], alone, atol=1e-4, rtol=0)


def test_each_chunk_of_a_batch_has_its_own_gate() -> None:
    centred, rule, _ = mixture(1, 1)
    panned, *_ = mixture(1, 0)
    together = rule(torch.cat([centred, panned, torch.zeros_like(panned)]))
    torch.testing.assert_close(together[:1], rule(centred))
    torch.testing.assert_close(together[1:2], rule(panned))
    assert torch.equal(together[2], torch.zeros(3, 2, FRAMES))


def test_the_gate_opens_between_its_bounds() -> None:
    """With gains 1 and g, c = 1 - (1 - g)^2 / (1 + g^2): 0.9 at g = 0.6268."""
    gate = CentredDialogue(bent, MONO, low=0.8, high=1.0)._gate
    one = noise(0)[None]
    torch.testing.assert_close(gate(one, 0.6268 * one), torch.tensor([0.5]), atol=1e-3, rtol=0)
    assert gate(one, one).item() == pytest.approx(1)
    assert gate(one, 0.4 * one).item() == 0


def test_wrong_models() -> None:
    with pytest.raises(ConfigError, match="takes a model of one channel, this one has 2"):
        MidSide(bent, AudioSpec(("a",)))
    with pytest.raises(ConfigError, match=r"no 'speach'. Did you mean 'speech'"):
        CentredDialogue(bent, MONO, "speach")
    with pytest.raises(ConfigError, match="needs sources beside"):
        CentredDialogue(bent, AudioSpec(("speech",), channels=1))
    with pytest.raises(ConfigError, match="low < high"):
        CentredDialogue(bent, MONO, low=0.9, high=0.9)
