"""OpenVINO: a network traced once, its graph rewritten for CPUs, and run without torch."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.infer.backends.exported import Network, NetworkOnly

Precision = Literal["float32", "bf16"]
"""bf16: products inside of the modules that the model names (Separator.rounded_modules) take
bfloat16 numbers, and sum them in float32."""

GRAPH = "network.xml"


def version() -> str:
    """Return OpenVINO's version.

    Raises:
        ConfigError: it is not installed, or can't be imported.
    """
    return str(_openvino().__version__)


def has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 (elsewhere it would be emulated, and slower)."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def export(model: Separator, inputs: tuple[Tensor, ...], folder: Path) -> None:
    """Write a model's network, for inputs of these very shapes, into a folder.

    Raises:
        ConfigError: OpenVINO has no counterpart for something in it.
    """
    openvino = _openvino()
    from mss.infer.backends.openvino_graph import mark_exact, optimise

    assert not model.training
    try:
        with warnings.catch_warnings(), _logging_kept(), torch.no_grad():
            # what the tracer takes for constants (lengths) is constant: the shapes are fixed
            warnings.simplefilter("ignore")
            graph = openvino.convert_model(
                NetworkOnly(model),
                example_input=inputs,
                input=[list(tensor.shape) for tensor in inputs],
            )
    except Exception as error:  # the tracer's and the converter's own kinds, many of them
        reason = str(error).strip().splitlines()
        raise ConfigError(
            f"backend: OpenVINO can't take {type(model).__name__} over "
            f"({reason[-1] if reason else type(error).__name__}); use torch"
        ) from error
    optimise(graph, model.rounded_modules)
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    mark_exact(folder / GRAPH, model.rounded_modules)


def load(folder: Path, threads: int, streams: int = 1, precision: Precision = "float32") -> Network:
    """Return an exported network as a function that several threads may call.

    Args:
        folder: as `export` left it.
        threads: CPU threads, of all calls together.
        streams: calls that may run at once.
        precision: of the marked products.
    """
    core = _openvino().Core()
    # A mapped file's pages would stay beside the copies that the plugin makes for its kernels.
    core.set_property({"ENABLE_MMAP": "NO"})
    compiled = core.compile_model(
        folder / GRAPH,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": str(max(threads, streams)),
            "NUM_STREAMS": str(streams),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            # several processes on one machine would all sit on the first cores
            "ENABLE_CPU_PINNING": "NO",
        },
    )
    return _Requests(compiled)


class _Requests:
    """A compiled network, with one inference request for each thread that calls it."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._outputs = len(compiled.outputs)
        self._local = threading.local()

    def __call__(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        arrays = [tensor.contiguous().numpy() for tensor in inputs]
        results = request.infer(arrays, share_inputs=True, share_outputs=True)
        # the request's own memory: good until this thread calls again
        return tuple(torch.from_numpy(results[index]) for index in range(self._outputs))


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    """Give the root logger its level, handlers and filters back: the converter sets up its own."""
    root = logging.getLogger()
    level, handlers, filters = root.level, root.handlers[:], root.filters[:]
    disabled = logging.root.manager.disable
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:], root.filters[:] = handlers, filters
        logging.disable(disabled)


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            f"backend: openvino can't be imported ({error}); pip install openvino, or use torch"
        ) from error
    return openvino
