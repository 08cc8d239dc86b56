"""From a model to a function of a whole recording."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from mss.core.errors import DataError
from mss.core.normalise import file_normalisation
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.plan import make_plan
from mss.infer.streamer import Streamer

ProgressFn = Callable[[float], None]
"""Called with the share of the work that is done, in [0, 1]."""


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and every part of it back into its own mode after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def model_chunk_fn(model: Separator, device: torch.device | str | None = None) -> ChunkFn:
    """Return the function [B, C, T] -> [B, S, C, T] that runs a model without gradients.

    The model runs in evaluation mode during each call and is left in the mode it was in, so that
    a model in training can be validated with it. Chunks go to the model's device and the result
    comes back to theirs.

    Args:
        model: any separator.
        device: where the model is moved to, once, now; None: it stays where it is.
    """
    if device is not None:
        model.to(device)

    def chunk_fn(chunks: Tensor) -> Tensor:
        parameter = next(model.parameters(), None)
        where = chunks.device if parameter is None else parameter.device
        with evaluating(model), torch.inference_mode():
            wave = model(chunks.to(where)).wave
        # The copy is made outside of inference mode: its tensors may not take part in a loss,
        # and a teacher's estimate has to.
        return torch.empty_like(wave, device=chunks.device).copy_(wave)

    return chunk_fn


def separate(
    chunk_fn: ChunkFn,
    spec: AudioSpec,
    inference: InferenceDefaults,
    mix: Tensor,
    batch_size: int = 1,
    progress: ProgressFn | None = None,
    device: torch.device | str | None = None,
    shifts: Sequence[int] = (),
) -> Tensor:
    """Separate a recording [C, T], T >= 0, into its sources [S, C, T].

    Normalises as `inference` says, streams the chunks and undoes the normalisation: the same
    steps, on the same chunks, as for a file.

    Args:
        chunk_fn: [B, C, T] -> [B, S, C, T].
        spec: what it takes and gives; `mix` has its sample rate and channels.
        inference: segment, overlap, window and normalisation.
        mix: the recording.
        batch_size: chunks separated together.
        progress: told the share that is done after each batch.
        device: where the chunks are cut, separated and added (None: the mix's own). The result
            is on the mix's device in any case.
        shifts: samples; the mean is taken over the grids of chunks that start this much before
            the recording, which zeros precede (Defossez et al. 2019, arXiv 1911.13254). None: one
            grid, which starts with it.

    Raises:
        ConfigError: segment, overlap or batch size make no sense.
        DataError: the mix does not have the model's channels.
    """
    if mix.ndim != 2 or mix.shape[0] != spec.channels:
        raise DataError(
            f"mix: is {list(mix.shape)}, the model takes [channels = {spec.channels}, samples]; "
            "mss.core.audio.convert_channels converts"
        )
    plan = make_plan(spec, inference, batch_size, shifts=shifts)
    normalisation = file_normalisation(mix, inference.normalise)
    frames = mix.shape[-1]
    streamer = Streamer(chunk_fn, plan)
    # blocks of one batch bound what lies on the device beside the model, and tell the progress
    blocks = torch.split(mix, plan.advance or max(1, frames), dim=-1)
    stems = mix.new_zeros(len(spec.sources), spec.channels, frames)
    done = 0
    for part in _stream(
        streamer, (normalisation.apply(block.to(device or mix.device)) for block in blocks)
    ):
        stems[..., done : done + part.shape[-1]] = normalisation.undo(part).to(stems.device)
        done += part.shape[-1]
        if progress is not None and part.shape[-1]:
            progress(done / frames)
    assert done == frames
    return stems


def _stream(streamer: Streamer, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield what comes out as blocks go in, and then the rest."""
    for block in blocks:
        yield streamer.feed(block)
    yield streamer.flush()
