"""A whole recording through HDemucs and HTDemucs, beside demucs's and MSST's own ways.

The networks have the published size and random weights, the same on both sides, with every
LayerScale raised to 0.3: near zero, as they begin, they would hide what a backend gets wrong.

    python -m tools.bench separate_htdemucs separate_hdemucs --threads 2
    python -m tools.bench_separation            how far our outputs are from demucs's, in dB
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tools.bench_pair import Pair

SOURCES = ("drums", "bass", "other", "vocals")
RATE = 44100
EXPORTS = Path("outputs/bench/exported")
HDEMUCS_SEGMENT = 10
"""Seconds. The released HDemucs take 40, of which one chunk needs 3 GB on the peer's side."""

Separate = Callable[[Any], Any]
"""[C, T] -> [S, C, T]"""


def _network(kind: str) -> Any:
    """Return demucs's network of the published size."""
    import torch
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    if kind == "hdemucs":
        network = HDemucs(list(SOURCES), channels=48, segment=HDEMUCS_SEGMENT)
    else:
        network = HTDemucs(
            list(SOURCES), bottom_channels=512, dconv_mode=3, segment=Fraction(39, 5)
        )
    for module in network.modules():
        if type(module).__name__ == "LayerScale":
            module.scale.data.fill_(0.3)
    return network.eval()


def _mixture(seconds: float) -> Any:
    import torch

    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(2, int(seconds * RATE), generator=generator)


def our_way(kind: str, backend: str = "auto", rounded: bool = True) -> Separate:
    """Return what `stemgrid separate` does between decoding and encoding.

    Args:
        kind: hdemucs or htdemucs.
        backend: "torch", "openvino", "onnx", or "auto": the fastest of torch and OpenVINO.
        rounded: let it take bfloat16 where it would by itself.
    """
    import torch

    from mss.core import registry
    from mss.core.types import AudioSpec
    from mss.infer.backends.store import ExportStore, choose_precision
    from mss.infer.separate import model_chunk_fn, separate

    settings = {"name": kind} | ({"segment": HDEMUCS_SEGMENT} if kind == "hdemucs" else {})
    model = registry.build("model", settings, AudioSpec(SOURCES)).eval()
    model.load_state_dict(_network(kind).state_dict())
    chunk_fn = model_chunk_fn(model)
    if backend != "torch":
        store, runtime = ExportStore(EXPORTS), "onnx" if backend == "onnx" else "openvino"
        frames = model.spec.frames(model.segment)
        folder, about = store.prepare(model, runtime, 1, frames)  # type: ignore[arg-type]
        precision = choose_precision(about) if rounded else "float32"
        if backend != "auto" or about.seconds[precision] < about.seconds["torch"]:
            chunk_fn = store.chunk_fn(
                model,
                runtime,  # type: ignore[arg-type]
                folder,
                about,
                torch.get_num_threads(),
                precision=precision,
            )
    return lambda mix: separate(chunk_fn, model.spec, model.inference, mix)


def demucs_way(kind: str) -> Separate:
    """Return demucs's own: its normalisation about apply_model, overlap 0.25, no shifts."""
    import torch
    from demucs.apply import apply_model

    network = _network(kind)

    def run(mix: Any) -> Any:
        mono = mix.mean(0)
        mean, std = mono.mean(), mono.std() + 1e-8
        with torch.no_grad():
            stems = apply_model(network, ((mix - mean) / std)[None], split=True, shifts=0)
        return stems[0] * std + mean

    return run


def msst_way(kind: str) -> Separate:
    """Return Music-Source-Separation-Training's demix at its usual overlap of 2."""
    import torch
    from ml_collections import ConfigDict
    from msst.utils.model_utils import demix

    network = _network(kind)
    segment = HDEMUCS_SEGMENT if kind == "hdemucs" else 7.8
    config = ConfigDict(
        {
            "training": {"samplerate": RATE, "segment": segment, "instruments": list(SOURCES)},
            "inference": {"num_overlap": 2, "batch_size": 1},
        }
    )

    def run(mix: Any) -> Any:
        with torch.inference_mode():
            return demix(config, network, mix, torch.device("cpu"), "htdemucs")

    return run


def _turns(way: Callable[[], Separate], options: dict[str, Any]) -> Callable[[], float]:
    """Return a turn of separating a recording, which gives its seconds."""
    separate = way()
    seconds = options["recording_seconds"]
    mix = _mixture(seconds)

    def turn() -> float:
        separate(mix)
        return float(seconds)

    return turn


def _side(way: Callable[..., Separate], *args: Any) -> Callable[[dict[str, Any]], Any]:
    return functools.partial(_turns, functools.partial(way, *args))


def _pair(name: str, ours: tuple[Any, ...], peer: Callable[..., Separate], title: str) -> Pair:
    return Pair(f"separate_{name}", "seconds", _side(our_way, *ours), _side(peer, ours[0]), title)


SEPARATION_PAIRS = (
    _pair("htdemucs", ("htdemucs",), demucs_way, f"demucs {version('demucs')}"),
    _pair("htdemucs_float32", ("htdemucs", "auto", False), demucs_way, "demucs apply_model"),
    _pair("htdemucs_torch", ("htdemucs", "torch"), demucs_way, "demucs apply_model"),
    _pair("htdemucs_msst", ("htdemucs",), msst_way, f"msst {version('msst')} demix"),
    _pair("hdemucs", ("hdemucs",), demucs_way, f"demucs {version('demucs')}"),
    _pair("hdemucs_torch", ("hdemucs", "torch"), demucs_way, "demucs apply_model"),
    _pair("hdemucs_msst", ("hdemucs",), msst_way, f"msst {version('msst')} demix"),
)


def main() -> int:
    """Print how far each of our ways is from demucs's output: SDR in dB, largest error / rms."""
    from mss.infer.backends.exported import agreement_db

    mix = _mixture(20.5)
    for kind in ("hdemucs", "htdemucs"):
        expected = demucs_way(kind)(mix)
        rms = expected.square().mean().sqrt()
        for backend, rounded in (("torch", False), ("auto", False), ("auto", True)):
            found = our_way(kind, backend, rounded)(mix)
            worst = ((found - expected).abs().max() / rms).item()
            label = f"{backend}{', rounded' if rounded else ''}"
            print(f"{kind} {label}: {agreement_db(expected, found):.1f} dB, worst {worst:.1e} rms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
