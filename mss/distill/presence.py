"""A presence net with its thresholds: which stems are silent in an excerpt, kept in one safe file.

The detector of Defossez, Usunier, Bottou and Bach (arXiv 1909.01174): it finds, in recordings
without stems, where one can be put on top (mss.distill.silent_stem).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.files import atomic_path
from mss.core.registry import dump_config, make_config
from mss.distill.presence_mixing import Excerpts, Share
from mss.distill.presence_net import PresenceConfig, PresenceNet, is_sounding
from mss.distill.presence_thresholds import (
    Criterion,
    SilenceScore,
    Threshold,
    check_criterion,
    find_threshold,
    score_silence,
)
from mss.release.container import raw_bytes

FORM = 1
"""Of the file; raise it when an older program could no longer read it."""

_METADATA = "stemgrid_presence"
_DIGEST = "content_sha256"


@dataclass(frozen=True)
class Calibration:
    """What thresholds are found from, and by.

    Attributes:
        criterion: when a stem may be called silent.
        excerpts: of the held-out songs.
        left_out: share of their stems that are left out, so that there is silence to find (see
            Excerpts.of); the precision holds for recordings in which stems are silent about as
            often. With 0 the songs are taken as they are, and a stem that never is silent gets no
            threshold.
        seed: of the excerpts.
    """

    criterion: Criterion = field(default_factory=Criterion)
    excerpts: Annotated[int, Field(ge=1)] = 512
    left_out: Share = 0.25
    seed: int = 0


@dataclass(frozen=True)
class PresenceDetector:
    """Tells which stems are silent.

    Attributes:
        net: in eval mode.
        thresholds: of each stem, in the net's order.
        calibration: how they were found.
        facts: plain values: of which data.
    """

    net: PresenceNet
    thresholds: tuple[Threshold, ...]
    calibration: Calibration
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> PresenceConfig:
        return self.net.config

    @property
    def levels(self) -> dict[str, float | None]:
        """The threshold of each stem in dB; None: it is never called silent."""
        levels = [threshold.level for threshold in self.thresholds]
        return dict(zip(self.config.stems, levels, strict=True))

    def silent(self, mix: Tensor) -> Tensor:
        """Return which stems [B, S] (bool, CPU) are silent in mixtures [B, C, T] of a segment each.

        None is called so in a mixture that is silent itself.
        """
        with torch.no_grad():
            told = self.net(mix).cpu().double()  # some devices know no float64
        below = [-torch.inf if t.level is None else t.level for t in self.thresholds]
        silent: Tensor = told <= told.new_tensor(below)  # [B, S]
        return silent & is_sounding(mix).cpu()[:, None]

    def scores(self, excerpts: Excerpts) -> dict[str, SilenceScore]:
        """Return how well each stem's silence is found in excerpts."""
        limit = self.calibration.criterion.silence_db
        told, true = _columns(excerpts.told(self.net)), _columns(excerpts.levels)
        return {
            stem: score_silence(told[:, place], true[:, place] < limit, threshold.level)
            for place, (stem, threshold) in enumerate(
                zip(self.config.stems, self.thresholds, strict=True)
            )
        }


def calibrate(
    net: PresenceNet,
    held_out: Excerpts,
    calibration: Calibration,
    facts: Mapping[str, Any] | None = None,
) -> PresenceDetector:
    """Return a net (in eval mode) with the thresholds that held-out excerpts give it.

    Those that chose its weights, too, flatter it a little: `scores` on other songs tell.

    Raises:
        ConfigError: the net does not tell levels as low as what counts as silent.
    """
    criterion = calibration.criterion
    check_criterion(criterion, net.config.floor_db)
    told, true = _columns(held_out.told(net)), _columns(held_out.levels)
    thresholds = tuple(
        find_threshold(told[:, place], true[:, place] < criterion.silence_db, criterion)
        for place in range(len(net.config.stems))
    )
    return PresenceDetector(net, thresholds, calibration, facts or {})


def _columns(levels: Tensor) -> Any:
    return levels.double().cpu().numpy()


# -- the file ----------------------------------------------------------------------------------


def save_detector(detector: PresenceDetector, path: str | os.PathLike[str]) -> None:
    """Write a detector as safetensors with a JSON header. Equal content gives equal bytes."""
    header = {
        "form": FORM,
        "config": dump_config(detector.config),
        "calibration": dump_config(detector.calibration),
        "thresholds": [dump_config(threshold) for threshold in detector.thresholds],
        "facts": dict(detector.facts),
    }
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in detector.net.state_dict().items()
    }
    text = json.dumps(header, allow_nan=False)
    sealed = json.dumps({**header, _DIGEST: _content_sha256(text, tensors)}, allow_nan=False)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_METADATA: sealed})


def load_detector(
    path: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> PresenceDetector:
    """Read what `save_detector` wrote. Nothing is unpickled.

    Raises:
        DataError: it is not there, no presence net, damaged, or of a newer form.
    """
    file = Path(path)
    header, tensors = _read(file)
    form = header.get("form")
    if form != FORM:
        raise DataError(
            f"{file}: is of form {form}, this program reads {FORM}; train it again: python -m"
            " tools.presence train"
        )
    digest = header.pop(_DIGEST, None)
    if digest != _content_sha256(json.dumps(header), tensors):
        raise DataError(
            f"{file}: damaged: its content does not match the SHA-256 in its header; {_AGAIN}"
        )
    try:
        net = PresenceNet(make_config(PresenceConfig, header["config"], "config"))
        net.load_state_dict(tensors)
        calibration = make_config(Calibration, header["calibration"], "calibration")
        thresholds = tuple(
            make_config(Threshold, values, "thresholds") for values in header["thresholds"]
        )
        if len(thresholds) != len(net.config.stems):
            raise ConfigError(f"{len(thresholds)} thresholds for {len(net.config.stems)} stems")
    except (ConfigError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{file}: makes no presence net ({error}); {_AGAIN}") from error
    return PresenceDetector(net.to(device).eval(), thresholds, calibration, header["facts"])


_AGAIN = "copy it or train it again"


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return header and tensors of a file."""
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such file; python -m tools.presence train makes a presence net"
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(_METADATA)
            if text is None:
                raise DataError(
                    f"{path}: a safetensors file, but no presence net; python -m tools.presence"
                    " train makes one"
                )
            header = json.loads(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: damaged, truncated or not safetensors ({error}); {_AGAIN}"
        ) from error
    if not isinstance(header, dict):
        raise DataError(f"{path}: damaged: its header is not a mapping; {_AGAIN}")
    return header, tensors


def _content_sha256(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the hex SHA-256 of the header and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(raw_bytes(tensor).numpy().data)
    return digest.hexdigest()
