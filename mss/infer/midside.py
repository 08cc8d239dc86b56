"""A mono model on stereo recordings: by middle and side, or by left, right, middle and side."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.types import AudioSpec, ChunkFn


def _middle(chunks: Tensor) -> Tensor:
    """Return (L + R) / 2 of [B, 2, T], as [B, 1, T]."""
    return chunks.mean(dim=1, keepdim=True)


def _side(chunks: Tensor) -> Tensor:
    """Return (L - R) / 2 of [B, 2, T], as [B, 1, T]."""
    return (chunks[:, :1] - chunks[:, 1:]) / 2


def _check_mono(spec: AudioSpec) -> None:
    if spec.channels != 1:
        raise ConfigError(
            f"midside: takes a model of one channel, this one has {spec.channels}; a stereo model "
            "is run as it is"
        )


class MidSide:
    """Separates M = (L + R) / 2 and S = (L - R) / 2 on their own; L = M + S, R = M - S.

    Args:
        chunk_fn: of a mono model, [B, 1, T] -> [B, S, 1, T].
        spec: what that takes and gives.

    Attributes:
        spec: what this takes and gives: stereo.

    Raises:
        ConfigError: the model is not mono.
    """

    def __init__(self, chunk_fn: ChunkFn, spec: AudioSpec) -> None:
        _check_mono(spec)
        self.spec = replace(spec, channels=2)
        self._chunk_fn = chunk_fn

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, 2, T] into [B, S, 2, T]."""
        middle, side = self._chunk_fn(_middle(chunks)), self._chunk_fn(_side(chunks))
        return torch.cat([middle + side, middle - side], dim=2)


class CentredDialogue:
    """The L/R/M/S rule of sdx23-aimless for a mono model, where the dialogue is in the centre.

    The model hears left, right, middle and side. Centred dialogue has no side, so its estimate is
    one for both channels, the mean of those of L, R and M; and what the side's estimates of all
    others but o leave of the side is the side of o:

        dialogue_L = dialogue_R = (h_L + h_R + h_M) / 3
        side_o = S - sum over the others p (not dialogue, not o) of h_S,p
        o_L = (h_M,o + side_o + h_L,o) / 2        o_R = (h_M,o - side_o + h_R,o) / 2

    Gated: this puts any dialogue at the side into the other stems. So it is weighed, for each
    chunk, by how centred the dialogue is that the model hears at the left and at the right:

        c = 1 - |d_L - d_R|^2 / (|d_L|^2 + |d_R|^2)

    over the chunk's samples: 1 for equal signals, 0 for uncorrelated ones or one side alone, below
    for opposite polarity. From c = `high` on the rule holds; up to c = `low`, and where there is no
    dialogue, left and right stay as the model separates them alone; between, they cross over.

    Args:
        chunk_fn: of a mono model, [B, 1, T] -> [B, S, 1, T].
        spec: what that takes and gives.
        dialogue: the centred source.
        low, high: see above.

    Attributes:
        spec: what this takes and gives: stereo.

    Raises:
        ConfigError: the model is not mono, has no such source or no other; bounds out of order.
    """

    def __init__(
        self,
        chunk_fn: ChunkFn,
        spec: AudioSpec,
        dialogue: str = "speech",
        low: float = 0.8,
        high: float = 0.95,
    ) -> None:
        _check_mono(spec)
        if dialogue not in spec.sources:
            hint = nearest_name_hint(dialogue, spec.sources)
            raise ConfigError(f"dialogue: the model gives no {dialogue!r}.{hint}")
        if len(spec.sources) == 1:
            raise ConfigError(f"dialogue: the rule needs sources beside {dialogue!r}")
        if not low < high <= 1:
            raise ConfigError(f"dialogue: low {low:g} and high {high:g} are not low < high <= 1")
        self.spec = replace(spec, channels=2)
        self._chunk_fn = chunk_fn
        self._dialogue = spec.sources.index(dialogue)
        self._low, self._high = low, high

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, 2, T] into [B, S, 2, T]."""
        side = _side(chunks)  # [B, 1, T]
        left, right, middle, of_side = (
            self._chunk_fn(part.clone())[:, :, 0]  # [B, S, T]
            for part in (chunks[:, :1], chunks[:, 1:], _middle(chunks), side)
        )
        plain = torch.stack([left, right], dim=2)  # [B, S, 2, T]

        of_side = of_side.clone()
        of_side[:, self._dialogue] = 0
        others = of_side.sum(dim=1, keepdim=True) - of_side  # for each o, of all others than o
        own_side = side - others
        rule = torch.stack([middle + own_side + left, middle - own_side + right], dim=2) / 2
        centre = torch.stack([left, right, middle])[:, :, self._dialogue].mean(dim=0)  # [B, T]
        rule[:, self._dialogue] = centre[:, None]

        gate = self._gate(left[:, self._dialogue], right[:, self._dialogue])
        return torch.lerp(plain, rule, gate[:, None, None, None])

    def _gate(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the rule's weight [B] from the dialogue [B, T] at the left and at the right."""
        energy = left.square().sum(dim=-1) + right.square().sum(dim=-1)
        apart = (left - right).square().sum(dim=-1)
        centred = torch.where(energy > 0, 1 - apart / energy.clamp_min(1e-30), -1)
        return ((centred - self._low) / (self._high - self._low)).clamp(0, 1)
