"""What one forward pass of a preset costs in arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mss.core.separator import Separator

RATE = 44100


def build_preset(preset: Sequence[str], sources: tuple[str, ...]) -> Separator:
    """Return the model of a preset (its name, then overrides), random weights, in evaluation."""
    import torch
    from omegaconf import OmegaConf

    from mss import build
    from mss.core import registry
    from mss.core.types import AudioSpec

    torch.manual_seed(0)
    cfg = build.compose_config([f"model={preset[0]}", *preset[1:]])
    values: Any = OmegaConf.to_container(cfg.model, resolve=True)
    model: Separator = registry.build("model", values, AudioSpec(sources))
    return model.eval()


def our_forward(options: dict[str, Any]) -> Callable[[], float]:
    """Prepare a forward pass over `seconds` of noise; it returns those seconds."""
    import torch

    model = build_preset([options["preset"], *options["overrides"]], tuple(options["sources"]))
    mix = noise(options["seconds"])
    inputs = model.analyse(mix).inputs

    def turn() -> float:
        with torch.inference_mode():
            if options["part"] == "network":
                model.network(*inputs)
            else:
                model(mix)
        return float(options["seconds"])

    return turn


def noise(seconds: float) -> Any:
    """Return a stereo mixture [1, 2, T] of noise."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(1, 2, round(seconds * RATE), generator=generator)


def model_facts(
    preset: Sequence[str], sources: tuple[str, ...], seconds: float
) -> tuple[int, float]:
    """Return a preset's parameters and its GFLOP for a second of audio, 2 a multiply-add.

    Counted: convolutions, matrix products, attention and LSTMs; not: Fourier transforms and what
    works element by element.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten
    more = {
        aten.mkldnn_rnn_layer: _lstm_flop,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop,
    }
    model = build_preset(preset, sources)
    counter = FlopCounterMode(display=False, custom_mapping=more)
    with torch.no_grad(), counter:  # inference_mode hides the layers of an LSTM
        model(noise(seconds))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return parameters, counter.get_total_flops() / seconds / 1e9


def _lstm_flop(
    inputs: list[int], over_input: list[int], over_hidden: list[int], *_: Any, **__: Any
) -> int:
    """One direction of one layer: [N, B, I] through [4H, I] and [4H, H] weights."""
    frames, batch, _width = inputs
    return 2 * frames * batch * (prod(over_input) + prod(over_hidden))


def _attention_flop(query: list[int], key: list[int], value: list[int], *_: Any, **__: Any) -> int:
    """Scores and weighted sums of [B, H, L, D] heads."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[-2] * (width + value[-1])
