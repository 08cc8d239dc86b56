"""One released model: one safetensors file that is safe to open and needs nothing else.

The file ``<arch>-<signature>-<sha8>.safetensors`` holds the weights and, in its metadata, one JSON
header (mss.release.header). `sha8` starts the SHA-256 of the whole file, so the name tells damage;
the header repeats a SHA-256 of the content, which is what a renamed file is checked against, and a
repo's index has the whole file's.

Nothing here unpickles, and no name in a file is imported: the architecture is looked up by equality
among those that this program lists.
"""

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from einops import reduce
from torch import Tensor

import mss
from mss.core.errors import ConfigError, DataError
from mss.core.files import atomic_path, file_sha256
from mss.core.registry import dump_config, make_config, resolve
from mss.core.rng import torch_generator
from mss.core.separator import Separator
from mss.core.types import InferenceDefaults
from mss.release.container import SUFFIX, raw_bytes, read_verified, write_container
from mss.release.header import NO_LICENCE, Header, faults_of

_PROBE_SECONDS = 0.5


# --- writing -------------------------------------------------------------------------------------


def save_package(
    model: Separator,
    folder: str | os.PathLike[str],
    *,
    arch: str,
    signature: str,
    inference: InferenceDefaults | None = None,
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    licence: str = NO_LICENCE,
    created: str | None = None,
) -> Path:
    """Write `model` as one file into `folder` and return its path.

    The file appears under its name only after it was loaded back, its weights compared bit by bit
    and its output on half a second of noise compared with the model's. Equal arguments give equal
    bytes, hence the same name.

    Args:
        model: on any device; its mode (training or not) is left as it was.
        folder: made where it is missing.
        arch: registered name of the model's class.
        signature: of the run that trained it.
        inference: how to run it over a whole file (default: the model's own).
        provenance, scores, licence, created: see Header.

    Raises:
        ConfigError: the model can't be told by its configuration (`arch` names another class, a
            value is not JSON, rebuilt it gives another output), or a weight is NaN or infinite.
    """
    if type(model) is not resolve("model", arch):
        raise ConfigError(
            f"arch: {arch!r} is registered for another class than {type(model).__name__}; "
            "give the name under which this class is registered"
        )
    header = Header(
        arch=arch,
        signature=signature,
        config=dump_config(model.config),
        spec=model.spec,
        inference=inference or model.inference,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        version=mss.__version__,
        provenance=dict(provenance or {}),
        scores=dict(scores or {}),
        licence=licence,
        created=created,
    )
    tensors = _portable_state(model)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=root) as scratch:
        draft = Path(scratch) / f"draft{SUFFIX}"
        write_container(draft, header, tensors)
        sha256 = file_sha256(draft)
        final = root / f"{header.prefix}-{sha256[:8]}{SUFFIX}"
        with atomic_path(final) as temporary:
            shutil.copymode(temporary, draft)
            os.replace(draft, temporary)
            _compare_with_file(model, tensors, temporary, sha256)
    return final


def _portable_state(model: Separator) -> dict[str, Tensor]:
    """Return the state as contiguous CPU tensors, no two of which share memory.

    A tensor that two names share (tied weights, views) is written under both: the file stays plain,
    and loading fills the shared memory twice with the same values.
    """
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"{name}: a {type(value).__name__} in the model's state; only tensors are released "
                "(keep other values in the Config)"
            )
        tensor = value.detach().cpu().contiguous()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ConfigError(
                f"{name}: holds NaN or infinite weights: the run diverged; export another run"
            )
        storage = tensor.untyped_storage()
        # Views of a larger storage are copied too: safetensors refuses them.
        if storage.data_ptr() in storages or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
            storage = tensor.untyped_storage()
        if storage.nbytes():
            storages.add(storage.data_ptr())
        tensors[name] = tensor
    return tensors


def _compare_with_file(
    model: Separator, tensors: Mapping[str, Tensor], path: Path, sha256: str
) -> None:
    """Load `path` as a user would and require the same weights and the same output."""
    # The model at hand may come from a plug-in, so its user trusts that already.
    reloaded, header = load_package(path, plugins=True, sha256=sha256)
    for name, value in reloaded.state_dict().items():
        if not torch.equal(raw_bytes(value.contiguous()), raw_bytes(tensors[name])):
            raise DataError(
                f"{path}: {name} read back differs from what was written; check the disk"
            )
    device = next(iter(model.state_dict().values()), torch.empty(0)).device
    frames = max(1, int(_PROBE_SECONDS * header.spec.samplerate))
    noise = torch.randn(
        1, header.spec.channels, frames, generator=torch_generator("release", "probe")
    ).to(device)  # [B=1, C, T]
    with _evaluating(model), torch.inference_mode():
        expected = model(noise).wave.float()  # [B, S, C, T]
        found = reloaded.to(device)(noise).wave.float()
    rms = math.sqrt(float(reduce(expected.square(), "b s c t -> ", "mean")))
    # Bit-equal on a CPU; an accelerator may sum in another order, hence 1e-5 of the rms.
    if found.shape != expected.shape or not bool(
        ((found - expected).abs() <= 1e-5 * rms).all()  # False where either is NaN
    ):
        raise ConfigError(
            f"{header.arch}: rebuilt from its configuration and weights, the model gives another "
            "output (or NaN); something it depends on is neither in its Config nor in its state"
        )


@contextlib.contextmanager
def _evaluating(model: Separator) -> Iterator[None]:
    """Put a model into evaluation mode and every module back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


# --- reading -------------------------------------------------------------------------------------


def load_package(
    path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    plugins: bool = False,
    sha256: str | None = None,
) -> tuple[Separator, Header]:
    """Build the released model of `path`, in evaluation mode on `device`.

    The global random state is left as it was.

    Args:
        path: the file.
        device: where the model goes.
        plugins: let an installed plug-in give the architecture.
        sha256: of the whole file, as an index states it (see verify_package).

    Raises:
        DataError: a missing, damaged, truncated or foreign file (a pickle is never opened), a newer
            schema, an unknown architecture or configuration key, a weight that is missing, too many
            or of another shape or type.
    """
    path = Path(path)
    header, tensors = read_verified(path, sha256)
    model = _build(header, path, plugins)
    _check_state(model, tensors, header, path)
    model.load_state_dict(tensors, strict=True)
    return model.to(device).eval(), header


def _build(header: Header, path: Path, plugins: bool) -> Separator:
    """Build the header's model with fresh weights."""
    try:
        found = resolve("model", header.arch, plugins=plugins)
    except ConfigError as error:
        allow = "" if plugins else ", or allow plug-ins (--plugins) if one installed provides it"
        raise DataError(f"{path}: {error} Upgrade stemgrid{allow}.") from error
    with faults_of(path):
        config = make_config(found.Config, header.config, f"config of {header.arch}")
        # Fresh weights are drawn only to be overwritten: a training run must not notice.
        with torch.random.fork_rng(devices=[]):
            try:
                model: Separator = found(config, header.spec)
            except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
                raise DataError(
                    f"{path}: its configuration does not build a {header.arch}: {error}; install "
                    f"the version that wrote it ({header.version})"
                ) from error
    return model


def _check_state(
    model: Separator, tensors: Mapping[str, Tensor], header: Header, path: Path
) -> None:
    """Require exactly the model's weights, each of its shape and type."""
    if faults := state_faults(model, tensors):
        raise DataError(
            f"{path}: its weights are not those of this {header.arch} ({faults}); it was written "
            f"by stemgrid {header.version}, this is {mss.__version__}: install that version or "
            "export the model again"
        )


def state_faults(model: Separator, tensors: Mapping[str, Tensor]) -> str:
    """Return what keeps `tensors` from being exactly the model's weights; empty: nothing."""
    expected = model.state_dict()
    faults = []
    if missing := [name for name in expected if name not in tensors]:
        faults.append(f"missing: {_few(missing)}")
    if unexpected := [name for name in tensors if name not in expected]:
        faults.append(f"unexpected: {_few(unexpected)}")
    if other := [
        f"{name} is {_kind(tensors[name])}, not {_kind(value)}"
        for name, value in expected.items()
        if name in tensors and _kind(tensors[name]) != _kind(value)
    ]:
        faults.append(_few(other))
    return "; ".join(faults)


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _few(texts: list[str], count: int = 3) -> str:
    more = f" and {len(texts) - count} more" if len(texts) > count else ""
    return ", ".join(texts[:count]) + more
