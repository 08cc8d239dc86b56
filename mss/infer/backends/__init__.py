"""What runs a model's network: torch itself, or an exported form in another runtime."""

from __future__ import annotations

from importlib.util import find_spec

_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}


def available_backends() -> tuple[str, ...]:
    """Return the backends whose packages are installed; torch always is."""
    return ("torch", *(name for name, package in _PACKAGES.items() if find_spec(package)))
