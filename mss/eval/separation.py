"""A model as a function of recordings that have their own sample rate and channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mss.core.audio import convert_channels, resample
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults, Separate
from mss.infer.separate import separate


def recording_separator(
    chunk_fn: ChunkFn,
    spec: AudioSpec,
    inference: InferenceDefaults,
    samplerate: int,
    batch_size: int = 1,
    device: torch.device | str | None = None,
    shifts: Sequence[int] = (),
) -> Separate:
    """Return the function [C, T] -> [S, C, T] that separates recordings at `samplerate` Hz.

    Scores are taken at the data's own sample rate and channels, whatever the model works at, so
    that they can be compared: a recording is converted on its way in, its stems on their way back.

    Args:
        chunk_fn, spec, inference, batch_size, device, shifts: as in mss.infer.separate.separate;
            shifts are in samples of the model's rate.
        samplerate: of the recordings.
    """

    def separate_recording(mix: Tensor) -> Tensor:
        inside = resample(convert_channels(mix, spec.channels), samplerate, spec.samplerate)
        stems = separate(
            chunk_fn, spec, inference, inside, batch_size, device=device, shifts=shifts
        )
        outside = convert_channels(resample(stems, spec.samplerate, samplerate), mix.shape[0])
        # both lengths are rounded up, so there is nothing to pad
        return outside[..., : mix.shape[-1]]

    return separate_recording
