"""What each target provider costs: a training step of hdemucs with it, beside one without.

    python -m tools.bench distill_pskd distill_ema distill_teacher ...

The step is that of tools/bench_step.py, the provider's target made first. Of a batch of four, two
items are unlabelled recordings where the provider is for those.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from tools.bench_pair import Pair
from tools.bench_step import SOURCES

CHANNELS = 48
ITEMS = 4
SECONDS = Fraction(11, 2)
EPOCH, EPOCHS = 5, 10


def _step(kind: str, options: dict[str, Any]) -> Callable[[], float]:
    """Return an update with a provider; "none": the references alone."""
    import torch

    from mss.core import registry
    from mss.core.targets import TargetMap
    from mss.core.types import AudioSpec, Batch, Progress
    from mss.distill.base import TargetChain, TargetProvider
    from mss.distill.references import References
    from mss.distill.surroundings import Surroundings
    from mss.losses.waveform import L1Loss, WaveformLossConfig
    from mss.solver.optim import Adam, OptimConfig
    from mss.solver.precision import Precision
    from mss.solver.speed import Speed
    from mss.solver.update import Updater

    torch.manual_seed(0)
    device = torch.device(options["device"])
    spec = AudioSpec(SOURCES)
    model = registry.build("model", {"name": "hdemucs", "channels": CHANNELS}, spec)
    model = model.to(device).train()
    precision = Precision(options["precision"], device)
    update = Updater(
        model,
        L1Loss(WaveformLossConfig(), SOURCES),
        Adam(OptimConfig(), model.parameters(), fused=options["fused"]),
        precision,
        Speed(compile=options["compile"]),
    )
    frames = spec.frames(SECONDS)
    generator = torch.Generator().manual_seed(0)
    stems = 0.1 * torch.randn(ITEMS, len(SOURCES), 2, frames, generator=generator)
    batch = Batch(stems.sum(1), stems, SOURCES, torch.ones(ITEMS, len(SOURCES)))
    values, unlabelled = KINDS[kind]
    if unlabelled:
        batch = _half_unlabelled(batch)
    batch = batch.to(device)
    folder = Path(tempfile.mkdtemp(prefix="bench-distill-"))
    run = Surroundings(
        model,
        TargetMap.make({}, SOURCES),
        SOURCES,
        folder,
        ITEMS,
        frames,
        autocast=precision.autocast,
    )
    links: dict[str, TargetProvider] = {"references": References(run.targets)}
    if values is not None:
        links[kind] = registry.build("distill", _named(values, folder, model), run)
    chain = TargetChain(links)
    chain.on_step(model)
    chain.on_epoch_end(model)
    progress = Progress(EPOCH, EPOCHS)

    def step() -> float:
        update(batch, chain(batch, None, progress))
        chain.on_step(model)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return 1.0

    return step


KINDS: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "none": (None, False),
    "none_unlabelled": (None, True),
    "pskd": ({"name": "pskd"}, False),
    "ema": ({"name": "pskd", "teacher": "ema"}, False),
    "teacher": ({"name": "teacher"}, False),
    "silent_stem": ({"name": "silent_stem"}, True),
    "remixit": ({"name": "remixit"}, True),
    "mean_teacher": ({"name": "mean_teacher"}, True),
}
"""Name of a side: the keys of its provider, and whether half of its items are unlabelled."""


def _half_unlabelled(batch: Any) -> Any:
    """Make recordings of the batch's second half, with the drums of each known."""
    import torch

    half = ITEMS // 2
    rest = torch.zeros_like(batch.mix)
    rest[half:] = batch.stems[half:, 1:].sum(1)
    stems, trust = batch.stems.clone(), batch.trust.clone()
    stems[half:, 1:], trust[half:, 1:] = 0, 0
    return replace(batch, stems=stems, trust=trust, rest=rest, mix=stems.sum(1) + rest)


def _named(values: dict[str, Any], folder: Path, model: Any) -> dict[str, Any]:
    """Release the model, where the provider needs a released one."""
    if values["name"] != "teacher":
        return values
    import copy
    import os

    from mss.release.package import save_package
    from mss.release.repo import Repo

    path = save_package(copy.deepcopy(model).cpu(), folder, arch="hdemucs", signature="benchmark")
    os.environ["STEMGRID_REPO"] = str(folder)
    return values | {"model": Repo(folder).add(path).name}


def _side(kind: str) -> Callable[[dict[str, Any]], Callable[[], float]]:
    return functools.partial(_step, kind)


DISTILL_PAIRS = [
    Pair(
        f"distill_{kind}",
        "updates",
        _side(kind),
        _side("none_unlabelled" if unlabelled else "none"),
        "without",
    )
    for kind, (values, unlabelled) in KINDS.items()
    if values is not None
]
