"""torch's own network made faster on a device: number formats, memory layout, compilation."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator
from mss.core.types import AudioSpec, Estimate, InferenceDefaults

logger = logging.getLogger(__name__)

Precision = Literal["float32", "tf32", "bf16"]
PrecisionChoice = Literal["auto", "float32", "tf32", "bf16"]

COMPILE_SECONDS = 90.0
"""What compiling a network takes, an estimate for those of the Demucs family on a GPU."""
COMPILE_SAVES = 0.2
"""Share of a separation's time that a compiled network saves on a GPU, an estimate, too."""
COMPILE_MINUTES = 375
"""Minutes of audio from which a GPU compiles where its speed is not known: what pays at 50 times
real time."""

_TF32_CAPABILITY = (8, 0)  # Ampere


@dataclass(frozen=True)
class Acceleration:
    """How torch runs a network.

    Attributes:
        precision: "float32": as torch does by default. "tf32": products of float32 matrices with
            factors rounded to 10 bits, on a GPU's tensor cores. "bf16": autocast, 7 bits.
        channels_last: weights of two-dimensional convolutions lie channels-last.
        compile: the network is compiled.
    """

    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False


def choose_acceleration(
    device: torch.device,
    precision: PrecisionChoice = "auto",
    compile: bool | None = None,
    audio_seconds: float | None = None,
    speed: float | None = None,
) -> Acceleration:
    """Return what a device is good at.

    "auto" is tf32 on a GPU that has it, else float32. bf16 has to be asked for: full-size networks
    (random weights, residual branches scaled by 0.3; autocast on a CPU) agree with float32 to
    40 dB (hdemucs) and 38 dB (htdemucs) in their worst source; in float16, which has the 10 bits of
    tf32, to 58 and 56 dB. On a CPU channels-last made no difference.

    Args:
        device: where the network runs.
        precision: as asked for.
        compile: as asked for; None: where it pays for what is to be separated, never on a CPU
            (htdemucs: no result after 400 s).
        audio_seconds: length of what is to be separated; None: not known, so not compiled.
        speed: audio seconds a second without; None: not known.

    Raises:
        ConfigError: no such precision, or the device does not have it.
    """
    if precision not in get_args(PrecisionChoice):
        known = ", ".join(get_args(PrecisionChoice))
        raise ConfigError(f"precision: there is no {precision!r}. Known: {known}")
    if precision == "auto":
        precision = "tf32" if has_tf32(device) else "float32"
    for name, has in (("tf32", has_tf32), ("bf16", has_bf16)):
        if precision == name and not has(device):
            raise ConfigError(
                f"precision: {device} computes no {name} by itself, it would only be slower; give "
                "float32, or leave the option out"
            )
    if compile is None:
        compile = device.type == "cuda" and compilation_pays(audio_seconds, speed)
    return Acceleration(precision, device.type == "cuda", compile)


def compilation_pays(audio_seconds: float | None, speed: float | None) -> bool:
    """Tell whether a compiled network saves more time than compiling it takes.

    Args:
        audio_seconds: length of what is to be separated; None: not known.
        speed: audio seconds a second; None: not known.
    """
    if audio_seconds is None:
        return False
    if speed is None:
        return audio_seconds > 60 * COMPILE_MINUTES
    return COMPILE_SAVES * audio_seconds / speed > COMPILE_SECONDS


def has_bf16(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_features())
    return device.type == "xpu"


def has_tf32(device: torch.device) -> bool:
    """Tell whether a device has instructions for TF32."""
    if device.type != "cuda":
        return False
    return bool(torch.cuda.get_device_capability(device) >= _TF32_CAPABILITY)


def cpu_features(cpuinfo: str = "/proc/cpuinfo") -> frozenset[str]:
    """Return the names of a CPU's instruction sets as Linux tells them; elsewhere none."""
    if not os.path.exists(cpuinfo):
        return frozenset()
    with open(cpuinfo, encoding="utf-8", errors="replace") as handle:
        for line in handle:
            key, _, value = line.partition(":")
            if key.strip().lower() in ("flags", "features"):  # x86, ARM
                return frozenset(value.split())
    return frozenset()


class AcceleratedModel(Separator):
    """A model whose network runs as an Acceleration says; its transforms stay float32.

    Args:
        model: in evaluation mode, on its device. Channels-last changes the layout of its weights.
        how: what is done.
        batch_size, frames: of the chunks [B, C, T] for which a network is compiled. Others, such as
            a recording's shorter last one, would be compiled anew each; they run as they are.
    """

    def __init__(
        self, model: Separator, how: Acceleration, batch_size: int = 1, frames: int | None = None
    ) -> None:
        super().__init__(model.config, model.spec)
        self.model = model
        self.how = how
        self._shape = (batch_size, model.spec.channels, frames)
        self._compiled = torch.compile(model.network, dynamic=False) if how.compile else None
        if how.channels_last:
            # Module.to leaves tensors alone that don't have four axes
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if how.precision == "tf32":
            # of the whole process: torch has no context for it, and every model here wants it
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True

    @property
    def inference(self) -> InferenceDefaults:
        return self.model.inference

    def forward(self, mix: Tensor) -> Estimate:
        """Separate a mixture [B, C, T], T >= 1."""
        features = self.analyse(mix)
        compiled = self._compiled is not None and tuple(mix.shape) == self._shape
        outputs = self._run_compiled(features) if compiled else self.network(*features.inputs)
        return self.synthesise(features, outputs)

    def analyse(self, mix: Tensor) -> Features:
        return self.model.analyse(mix)

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with self._autocast(inputs[0].device):
            return _as_float32(self.model.network(*inputs))

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        return self.model.synthesise(features, outputs)

    @classmethod
    def tiny(cls, spec: AudioSpec) -> Separator:
        raise NotImplementedError("it is made from a model")

    def _run_compiled(self, features: Features) -> tuple[Tensor, ...]:
        """Run the compiled network; where it can't be compiled, go on without, and say so."""
        from torch._dynamo.exc import TorchDynamoException  # slow to import

        assert self._compiled is not None
        try:
            with self._autocast(features.inputs[0].device):
                return _as_float32(self._compiled(*features.inputs))
        except TorchDynamoException as error:
            self._compiled = None
            reason = str(error).strip().splitlines()[:1]
            logger.warning("the network can't be compiled (%s); goes on without", *reason)
        return self.network(*features.inputs)

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.how.precision != "bf16":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)


def _as_float32(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return a network's outputs, those rounded by autocast as float32."""
    return tuple(out.float() if out.dtype == torch.bfloat16 else out for out in outputs)
