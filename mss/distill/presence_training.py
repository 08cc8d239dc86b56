"""Training a presence net: a plain loop of some minutes, with an early stop."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field

from mss.core.errors import ConfigError
from mss.core.rng import derive_seed, torch_generator
from mss.data.loader import SegmentLoader
from mss.data.segments import SegmentDataset
from mss.data.tracks import TrackSet
from mss.distill.presence_mixing import Excerpts, StemMixing, mixed_excerpts
from mss.distill.presence_net import PresenceConfig, PresenceNet

logger = logging.getLogger(__name__)

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class PresenceTraining:
    """How a presence net is trained.

    Attributes:
        steps: updates, at most; what is behind the last validation is left out.
        every: updates from one validation to the next.
        patience: validations without a better one after which it ends.
        batch_size: excerpts that are read for an update.
        views: mixtures that are made of them; reading costs more than mixing.
        lr: of AdamW at the beginning; it falls along a half cosine, to 0 after `steps`.
        mixing: of the stems.
        seed: of weights, excerpts and mixtures.
    """

    steps: Count = 1000
    every: Count = 50
    patience: Count = 5
    batch_size: Count = 8
    views: Count = 4
    lr: Annotated[float, Field(gt=0)] = 1e-3
    mixing: StemMixing = field(default_factory=StemMixing)
    seed: int = 0


def new_net(config: PresenceConfig, seed: int) -> PresenceNet:
    """Return an untrained net; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "presence_net"))
        return PresenceNet(config)


def train_presence(
    net: PresenceNet,
    tracks: TrackSet,
    held_out: Excerpts,
    training: PresenceTraining,
    workers: int = 0,
) -> None:
    """Train a net; it ends, in eval mode, with the weights that were best on held-out excerpts.

    On a CPU the same arguments and threads give the same weights, bit for bit.

    Args:
        net: on its device.
        tracks: songs to learn from.
        held_out: excerpts of other songs.
        training: how.
        workers: processes that read.

    Raises:
        ConfigError: the songs have other stems than the net.
        DataError: a song can't be read.
    """
    check_stems(net.config, tracks)
    optimizer = torch.optim.AdamW(net.parameters(), lr=training.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
    every = min(training.every, training.steps)
    dataset = SegmentDataset(
        tracks,
        net.config.segment_frames,
        every * training.batch_size,
        derive_seed(training.seed, "presence"),
    )
    best, best_state, worse = float("inf"), copy.deepcopy(net.state_dict()), 0
    with SegmentLoader(dataset, training.batch_size, workers) as loader:
        for epoch in range(training.steps // every):
            seen = _epoch(net, loader, epoch, optimizer, schedule, training)
            net.eval()
            loss = held_out.loss(net)
            logger.info("%d updates: loss %.4f, held-out %.4f", (epoch + 1) * every, seen, loss)
            if loss < best:
                best, best_state, worse = loss, copy.deepcopy(net.state_dict()), 0
                continue
            worse += 1
            if worse >= training.patience:
                break
    net.load_state_dict(best_state)
    net.eval()


def _epoch(
    net: PresenceNet,
    loader: SegmentLoader,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    training: PresenceTraining,
) -> float:
    """Train until the next validation; return the mean loss."""
    net.train()
    device = next(net.parameters()).device
    losses = []
    for step, batch in enumerate(loader.epoch(epoch)):
        stems = batch.stems.to(device)
        items, names = stems.shape[:2]
        mixtures = [
            training.mixing.draw(
                items,
                names,
                torch_generator(training.seed, "presence_mixing", epoch, step, view),
            )
            for view in range(training.views)
        ]
        pairs = list(mixed_excerpts(net, stems, mixtures))
        if len(pairs) < 2:  # a batch's statistics need more than one
            continue
        features, levels = (torch.stack(column) for column in zip(*pairs, strict=True))
        loss = net.loss(features, levels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return sum(losses) / len(losses) if losses else float("nan")


def check_stems(config: PresenceConfig, tracks: TrackSet) -> None:
    """Raise a ConfigError where songs have another form than a net hears and tells."""
    for what, own, given in (
        ("stems", ", ".join(config.stems), ", ".join(tracks.stems)),
        ("sample rate", f"{config.samplerate} Hz", f"{tracks.samplerate} Hz"),
        ("channels", str(config.channels), str(tracks.channels)),
    ):
        if own != given:
            raise ConfigError(
                f"{tracks.name}: {what}: {given}, and the presence net has {own}; take the data set"
                " that it was trained on, or train one: python -m tools.presence train"
            )
