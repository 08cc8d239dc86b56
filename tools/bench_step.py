"""The training step of hdemucs at 48 channels, beside demucs's network and loop body."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from tools.bench_pair import Pair

SOURCES = ("drums", "bass", "other", "vocals")
RATE = 44100


def _batch(options: dict[str, Any]) -> Any:
    """Return (mix [B, 2, T], stems [B, 4, 2, T]) of noise, the same on both sides."""
    import torch

    generator = torch.Generator().manual_seed(0)
    frames = int(options["seconds"] * RATE)
    stems = 0.1 * torch.randn(options["batch_size"], 4, 2, frames, generator=generator)
    return stems.sum(1).to(options["device"]), stems.to(options["device"])


def _done(options: dict[str, Any]) -> None:
    """Wait for a GPU to be done, so that the clock measures it."""
    if options["device"].startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def ours(options: dict[str, Any]) -> Callable[[], float]:
    """Forward, loss, backward, norm of the gradients and update, as the solver makes them."""
    import torch

    from mss.core import registry
    from mss.core.types import AudioSpec, Batch, Target
    from mss.losses.waveform import L1Loss, WaveformLossConfig
    from mss.solver.optim import Adam, OptimConfig
    from mss.solver.precision import Precision
    from mss.solver.speed import Speed
    from mss.solver.update import Updater

    torch.manual_seed(0)
    device = torch.device(options["device"])
    model = registry.build("model", {"name": "hdemucs"}, AudioSpec(SOURCES)).to(device).train()
    if options["channels_last"]:
        model.to(memory_format=torch.channels_last)
    update = Updater(
        model,
        L1Loss(WaveformLossConfig(), SOURCES),
        Adam(OptimConfig(), model.parameters(), fused=options["fused"]),
        Precision(options["precision"], device),
        Speed(compile=options["compile"]),
    )
    mix, stems = _batch(options)
    batch = Batch(mix, stems, SOURCES, torch.ones(mix.shape[0], 4))
    target = Target(stems, torch.ones(mix.shape[0], 4, device=device))

    def step() -> float:
        update(batch, target)
        _done(options)
        return 1.0

    return step


def demucs(options: dict[str, Any]) -> Callable[[], float]:
    """Demucs's network with what its solver does to a batch: L1, backward, gradient norm, Adam."""
    import torch
    from demucs.hdemucs import HDemucs

    torch.manual_seed(0)
    model = HDemucs(sources=list(SOURCES), channels=48).to(options["device"]).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    mix, stems = _batch(options)

    def step() -> float:
        estimate = model(mix)
        loss = torch.nn.functional.l1_loss(estimate, stems, reduction="none")
        loss = loss.mean(dim=tuple(range(2, loss.dim()))).mean(0).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = sum(p.grad.detach().norm() ** 2 for p in model.parameters() if p.grad is not None)
        assert isinstance(norm, torch.Tensor)
        optimizer.step()
        optimizer.zero_grad()
        _done(options)
        return 1.0

    return step


STEP_PAIRS = [Pair("step", "updates", ours, demucs, f"demucs {version('demucs')}")]
