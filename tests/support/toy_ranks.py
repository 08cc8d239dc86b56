"""What each rank of a group of processes does in the tests of distributed training."""

import signal
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from toy_solver import SPEC, Gains, Loss, make, mse, taught, with_recordings

from mss.core import distrib
from mss.core.errors import DataError
from mss.core.separator import SeparatorConfig
from mss.core.targets import TargetMap
from mss.metrics.energy import NSDR, NSDRConfig
from mss.solver.evaluation import TrackEvaluation
from mss.solver.stop import Stopped, StopRequest


class Song:
    """A song of noise, [C, T] a stem."""

    samplerate, channels, stems, has_mixture = 100, 1, ("a", "b"), False

    def __init__(self, index: int) -> None:
        self.name, self.length = f"song{index}", 300 + 10 * index
        generator = torch.Generator().manual_seed(index)
        self.data = dict(
            zip(self.stems, torch.randn(2, 1, self.length, generator=generator), strict=True)
        )

    def read(self, stem: str, start: int = 0, frames: int | None = None) -> torch.Tensor:
        end = None if frames is None else start + frames
        return self.data[stem][:, start:end]


class AskedAt(StopRequest):
    """A request that is there at the `look`-th look of one rank."""

    def __init__(self, rank: int, look: int) -> None:
        super().__init__()
        self.left = look if distrib.rank() == rank else 10**9

    @property
    def signum(self) -> int:
        self.left -= 1
        return signal.SIGTERM if self.left < 0 else 0


def evaluate(stop: StopRequest | None = None) -> Any:
    """Return the scores of a model that is no good on five songs."""
    model = Gains(SeparatorConfig(), SPEC)
    with torch.no_grad():
        model.gains.copy_(torch.tensor([0.7, 0.1]))
    evaluation = TrackEvaluation(
        TargetMap.make(None, ("a", "b")), [NSDR(NSDRConfig())], Loss(mse), stop=stop
    )
    return evaluation(model, [Song(index) for index in range(5)], "valid")


def train(folder: Path, **other: Any) -> dict[str, Any]:
    """Train the toy to its end, or to where it is asked to stop."""
    made = make(folder, every=0, **other)
    torch.manual_seed(distrib.rank())
    solver, stopped = made.solver, 0
    try:
        solver.run()
    except Stopped as asked:
        stopped = int(asked.signum)
    place = solver.epoch, solver.step
    gains = solver.model.gains.detach().clone()
    found = {"gains": gains, "history": solver.history, "stopped": stopped, "place": place}
    return found | {"targets": solver.parts.targets.state_dict()}


def work(rank: int, world: int, folder: str) -> None:
    """Do everything, and save what came out for the test to look at."""
    torch.set_num_threads(1)
    root = Path(folder)
    dist.init_process_group(
        "gloo", init_method=f"file://{root / 'rendezvous'}", rank=rank, world_size=world
    )
    result: dict[str, Any] = {
        "plain": train(root / "plain", dropout=0.0),
        "undisturbed": train(root / "undisturbed"),
        "stopped": train(root / "resumed", stop=AskedAt(rank=1, look=5)),
        "resumed": train(root / "resumed"),
        "taught": {
            kind: train(root / kind, dropout=0.0, targets=taught(teacher=kind))
            for kind in ("snapshot", "ema")
        },
        "recordings": train(root / "recordings", dropout=0.0, **with_recordings()),
        "gathered": distrib.gather(rank),
        "told": distrib.broadcast(f"from {rank}"),
        "summed": distrib.sum_over_ranks(torch.tensor([1.0, rank])),
    }
    scored = evaluate()
    result["scored"] = scored.summary, scored.tracks
    try:
        evaluate(AskedAt(rank=0, look=1))
        result["asked"] = 0
    except Stopped as asked:
        result["asked"] = int(asked.signum)
    norm = torch.nn.BatchNorm1d(2)
    norm.running_mean.fill_(rank)
    distrib.broadcast_buffers(norm)
    result["buffer"] = norm.running_mean
    try:
        make(root / ("undisturbed" if rank else "elsewhere"))
        result["shared"] = "agreed"
    except DataError as error:
        result["shared"] = str(error)
    torch.save(result, root / f"result{rank}.th")
    dist.barrier()
    dist.destroy_process_group()
