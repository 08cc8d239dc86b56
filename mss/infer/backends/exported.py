"""A model whose network runs in another runtime; its transforms stay torch's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn

Network = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
"""Real tensors in, real tensors out, on the CPU: what Separator.network does. What comes out may be
overwritten by the same thread's next call."""

Shapes = tuple[tuple[int, ...], ...]


class NetworkOnly(nn.Module):
    """The part of a model that is exported: real tensors to real tensors."""

    def __init__(self, model: Separator) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.model.network(*inputs)


def example_inputs(model: Separator, mix: Tensor) -> tuple[Tensor, ...]:
    """Return what a mixture [B, C, T] becomes on its way into the network."""
    with torch.inference_mode():
        inputs = model.analyse(mix).inputs
    # outside of inference mode a tracer may record what is done with them
    return tuple(tensor.clone() for tensor in inputs)


def probe_mixture(spec: AudioSpec, batch: int, frames: int) -> Tensor:
    """Return a mixture [B, C, T] to time and to compare with: noise at the level of music.

    Its channels are half alike, so that middle and side both say something.
    """
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(batch, 1, frames, generator=generator)
    own = torch.randn(batch, spec.channels, frames, generator=generator)
    return 0.1 * (shared + own)


def exported_chunk_fn(model: Separator, load: Callable[[], Network], shapes: Shapes) -> ChunkFn:
    """Return the chunk function of a model whose network was exported for inputs of `shapes`.

    Other inputs, such as a recording's shorter last chunk, go through torch's network.

    Args:
        model: in evaluation mode, on the CPU.
        load: gives the exported network; called once, when it is needed first.
        shapes: of its inputs.
    """
    assert not model.training
    lock = threading.Lock()
    loaded: list[Network] = []

    def network() -> Network:
        with lock:
            if not loaded:
                loaded.append(load())
        return loaded[0]

    def chunk_fn(chunks: Tensor) -> Tensor:
        with torch.inference_mode():
            features = model.analyse(chunks.cpu())
            if shapes_of(features.inputs) == shapes:
                outputs = network()(features.inputs)
            else:
                outputs = model.network(*features.inputs)
            wave = model.synthesise(features, outputs).wave
        # outside of inference mode: see model_chunk_fn
        return torch.empty_like(wave, device=chunks.device).copy_(wave)

    return chunk_fn


def shapes_of(tensors: Sequence[Tensor]) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in tensors)


def agreement_db(expected: Tensor, found: Tensor) -> float:
    """Return 10 log10(|expected|^2 / |expected - found|^2); NaN where `found` holds one."""
    error = (expected.double() - found.double()).square().sum()
    return float(10 * torch.log10(expected.double().square().sum() / error))
