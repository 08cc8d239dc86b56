"""ONNX Runtime: a network exported by torch.onnx and run on the CPU."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.infer.backends.exported import Network, NetworkOnly

GRAPH = "network.onnx"


def version() -> str:
    """Return ONNX Runtime's version.

    Raises:
        ConfigError: it is not installed, or can't be imported.
    """
    return str(_onnxruntime().__version__)


def export(model: Separator, inputs: tuple[Tensor, ...], folder: Path) -> None:
    """Write a model's network, for inputs of these very shapes, into a folder.

    Raises:
        ConfigError: ONNX has no counterpart for something in it, or the exporter is missing.
    """
    assert not model.training
    try:
        with (
            warnings.catch_warnings(),
            _quiet_exporter(),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(NetworkOnly(model), inputs, dynamo=True, optimize=True)
            assert program is not None
            # weights in a file of their own: one protobuf holds 2 GB at most
            program.save(folder / GRAPH, external_data=True)
    except Exception as error:  # the exporter's own kinds, many of them
        reason = str(error).strip().splitlines()
        raise ConfigError(
            f"backend: ONNX can't take {type(model).__name__} over "
            f"({reason[0] if reason else type(error).__name__}); use torch"
        ) from error


def load(folder: Path, threads: int) -> Network:
    """Return an exported network as a function that several threads may call."""
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # threads that wait in a loop would take the cores from torch's transforms
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        feed = {
            name: tensor.contiguous().numpy() for name, tensor in zip(names, inputs, strict=True)
        }
        return tuple(torch.from_numpy(array) for array in session.run(None, feed))

    return run


@contextlib.contextmanager
def _quiet_exporter() -> Any:
    """Keep the exporter's progress off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"backend: onnxruntime can't be imported ({error}); pip install onnxruntime, or use "
            "torch"
        ) from error
    return onnxruntime
