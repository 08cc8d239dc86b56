"""From a configuration to typed objects. The only module that reads one.

Everything else takes typed arguments, so nothing but this file knows the layout of `conf/`.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mss.augment.batch import AugmentKey
from mss.augment.chain import BatchAugments, make_batch_augments
from mss.augment.loader import LoaderAugments, make_loader_augment
from mss.compose import OPEN_MAPPINGS, DictConfig, OmegaConf
from mss.compose import compose_config as compose_config  # part of this module's interface
from mss.core import distrib, registry
from mss.core.device import choose_device as choose_device  # as compose_config
from mss.core.errors import ConfigError
from mss.core.rng import derive_seed
from mss.core.separator import Separator
from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, Batch
from mss.data.labelnoise import LabelNoiseDataset
from mss.data.loader import SegmentLoader
from mss.data.tracks import TrackSet
from mss.distill.base import TargetChain, TargetProvider
from mss.distill.curriculum import first_songs
from mss.distill.held_out import check_added
from mss.distill.items import ItemPlan, TrainingItems, training_items
from mss.distill.references import References
from mss.distill.surroundings import Surroundings
from mss.eval.evaluate import EvaluationConfig
from mss.metrics.base import Metric, SingleMetric, make_metrics
from mss.solver.ema import Ema, EmaConfig
from mss.solver.evaluation import Testing, TrackEvaluation, Validation
from mss.solver.parts import Link, Parts, RunOptions, TrainConfig, ValidConfig
from mss.solver.precision import Precision
from mss.solver.run_lock import RunLock
from mss.solver.solver import Solver
from mss.solver.speed import Speed
from mss.solver.stop import StopRequest
from mss.solver.tensorboard import TensorBoardLink
from mss.solver.update import normalise_over_ranks
from mss.start import continue_from, continue_optim

logger = logging.getLogger(__name__)

NO_DISTILLATION = "none"


@dataclass(frozen=True)
class MiscConfig:
    """Keys that change no result; see conf/config.yaml."""

    device: str = "auto"
    threads: int = 0
    workers: int = 2
    accumulate: int = 1
    compile: bool = False
    channels_last: bool = False
    fused: bool = False
    checkpoint_steps: int = 0
    progress: bool = True
    log_seconds: float = 60.0
    tensorboard: bool = False
    accept_changes: bool = False

    def __post_init__(self) -> None:
        for key in ("threads", "workers", "checkpoint_steps", "log_seconds"):
            if getattr(self, key) < 0:
                raise ConfigError(f"misc.{key}: {getattr(self, key)} is negative")


# -- reading the config ------------------------------------------------------------------------


def _plain(cfg: DictConfig, key: str) -> dict[str, Any]:
    """Return one group or section as plain values."""
    node = cfg[key]
    if node is None:
        return {}
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def _typed(cfg: DictConfig, key: str, config_class: type) -> Any:
    return registry.make_config(config_class, _plain(cfg, key), key)


def locked_values(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved config without the keys that are outside the signature."""
    patterns = [*cfg.dora.exclude, "dora", "dora.*", "hydra", "hydra.*"]

    def kept(node: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
        values = {}
        for key, value in node.items():
            name = f"{prefix}{key}"
            if any(fnmatch(name, pattern) for pattern in patterns):
                continue
            values[key] = kept(value, f"{name}.") if isinstance(value, Mapping) else value
        return values

    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    plain: dict[str, Any] = json.loads(json.dumps(kept(resolved, "")))  # what the lock reads back
    return plain


def build_device(cfg: DictConfig, local_rank: int = 0) -> torch.device:
    """Return the device of this process, as `misc.device` says."""
    misc: MiscConfig = _typed(cfg, "misc", MiscConfig)
    return choose_device(misc.device, local_rank)


def prepare_process(cfg: DictConfig) -> None:
    """Set this process's threads and seed its global generators."""
    misc: MiscConfig = _typed(cfg, "misc", MiscConfig)
    if misc.threads:
        torch.set_num_threads(misc.threads)
    seed = cfg.seed
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ConfigError(f"seed: {seed!r} is no whole number from 0 to 2**32 - 1")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


# -- data and model ----------------------------------------------------------------------------


def build_dataset(cfg: DictConfig) -> Any:
    """Return the data set of group `dset`; its `.split(name)` gives a TrackSet."""
    values = _plain(cfg, "dset")
    kind = values.pop("kind", None)
    if kind is None:
        raise ConfigError(f"dset.kind: this key is needed; {registry.names('dataset')}")
    name = values.pop("name", kind)
    found = registry.resolve("dataset", kind, where="dset.kind")
    return found(registry.make_config(found.Config, values, "dset"), name=name)


def build_target_map(cfg: DictConfig, stems: Iterable[str]) -> TargetMap:
    """Return the map from a data set's stems to the sources of group `targets`."""
    return TargetMap.make(_plain(cfg, "targets"), stems)


def build_model(cfg: DictConfig, spec: AudioSpec) -> Separator:
    """Return the untrained model of group `model`."""
    model: Separator = registry.build("model", _plain(cfg, "model"), spec)
    return model


def build_augments(cfg: DictConfig, spec: AudioSpec) -> BatchAugments:
    """Return the chain of batch augmentations of group `augment`."""
    return make_batch_augments(_plain(cfg, "augment").get("batch") or {}, spec)


def build_loader_augments(cfg: DictConfig, spec: AudioSpec) -> LoaderAugments:
    """Return the chain of loader augmentations of group `augment`."""
    found = make_loader_augment(_plain(cfg, "augment").get("loader") or {}, spec)
    return found or LoaderAugments(())


def build_test(cfg: DictConfig) -> EvaluationConfig:
    """Return the keys of group `test`."""
    config: EvaluationConfig = _typed(cfg, "test", EvaluationConfig)
    return config


def build_distillation(cfg: DictConfig) -> Any:
    """Return the typed keys of group `distill`; None for `none`."""
    values = _plain(cfg, "distill")
    name = values.pop("name", NO_DISTILLATION)
    if name == NO_DISTILLATION:
        return None
    found = registry.resolve("distill", name, where="distill.name")
    return registry.make_config(found.Config, values, "distill")


def build_targets(cfg: DictConfig, run: Surroundings) -> TargetChain:
    """Return the chain of target providers; it starts at the mapped references."""
    links: dict[str, TargetProvider] = {"references": References(run.targets)}
    values = _plain(cfg, "distill")
    if values.get("name", NO_DISTILLATION) != NO_DISTILLATION:
        links[values["name"]] = registry.build("distill", values, run)
    return TargetChain(links)


class _Augment:
    """Augment a batch with draws keyed by the run's seed and the batch's place in it."""

    def __init__(self, augments: BatchAugments, seed: int) -> None:
        self.augments = augments
        self.seed = seed

    def __call__(self, batch: Batch, epoch: int, step: int) -> Batch:
        first = distrib.rank() * batch.stems.shape[0]
        return self.augments.apply(batch, AugmentKey(self.seed, epoch, step, first))


# -- a run -------------------------------------------------------------------------------------


def solver(
    cfg: DictConfig,
    folder: Path,
    link: Link,
    device: torch.device,
    stop: StopRequest | None = None,
) -> Solver:
    """Return the solver of a run, its folder locked to this configuration and data.

    With a process group, which is to be there by now, every rank builds one.

    Args:
        cfg: of the run.
        folder: of the run.
        link: where metrics are reported.
        device: of the model.
        stop: how the run is asked to stop.
    """
    train: TrainConfig = _typed(cfg, "train", TrainConfig)
    misc: MiscConfig = _typed(cfg, "misc", MiscConfig)
    valid: ValidConfig = _typed(cfg, "valid", ValidConfig)
    ema: EmaConfig = _typed(cfg, "ema", EmaConfig)
    test = build_test(cfg)
    metric, test_metrics = _validation_metric(valid), make_metrics(test.metrics)

    dataset = build_dataset(cfg)
    train_set, valid_set = dataset.split("train"), dataset.split("valid")
    test_set = _test_set(dataset, test.split)
    target_map = build_target_map(cfg, train_set.stems)
    spec = AudioSpec(target_map.sources, train_set.samplerate, train_set.channels)
    model = build_model(cfg, spec)
    heard = _heard(cfg, train, dataset, train_set, target_map, model, device)
    sets = [train_set, valid_set, *([test_set] if test_set else [])]
    check_added(heard.items.added, heard.items.origins, sets, dataset)
    values = locked_values(cfg) | {"spec": registry.dump_config(spec)}
    if heard.loader_augments.backends:  # what this machine chose, and another one may not have
        values["backends"] = dict(heard.loader_augments.backends)
    sets += heard.items.added
    lock = RunLock(folder, values, sets, heard.items.fingerprints, OPEN_MAPPINGS)
    lock.check(misc.accept_changes)

    start = None  # the run's own checkpoint goes before
    if not lock.has_checkpoint:
        start = continue_from(model, cfg.continue_from, cfg.continue_opt, folder.parent)
    model = normalise_over_ranks(model.to(device), misc.accumulate)
    if misc.channels_last:  # before the optimiser: its state has the layout of the weights
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _check_batch(train, heard.plan.group)
    loss = registry.build("loss", _plain(cfg, "loss"), spec.sources)
    optim = registry.build("optim", _plain(cfg, "optim"), model.parameters(), misc.fused)
    continue_optim(optim, start)
    loader = SegmentLoader(
        heard.items.segments,
        batch_size=train.batch_size,
        num_workers=misc.workers,
        rank=distrib.rank(),
        world_size=distrib.world_size(),
        pin_memory=device.type == "cuda",
    )
    run = Surroundings(
        model,
        target_map,
        train_set.stems,
        folder,
        heard.plan.items,
        heard.segment_frames,
        train.fixed_crops,
        heard.augmentations,
        Precision(train.precision, device).autocast,
        misc.accumulate or train.batch_size,  # to be found out: with the least memory till then
        cfg.seed,
    )

    def evaluation(metrics: Sequence[Metric], shifts: int = 0) -> TrackEvaluation:
        return TrackEvaluation(
            target_map, metrics, loss, test.batch_size, misc.progress, stop, shifts, test.seed
        )

    parts = Parts(
        model=model,
        augment=_Augment(heard.augments, cfg.seed),
        targets=build_targets(cfg, run),
        loss=loss,
        optim=optim,
        schedule=registry.build(
            "schedule",
            _plain(cfg, "schedule"),
            optim.optimizer,
            train.steps * train.epochs,
            train.epochs,
        ),
        ema=Ema(ema, model),
        batches=loader.epoch,
        validate=Validation(evaluation([metric]), valid_set, valid.subset),
        test=Testing(evaluation(test_metrics, test.shifts), test_set, folder) if test_set else None,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
    )
    _tell(cfg, train, train_set, model, heard.segment_frames)
    speed = Speed(misc.accumulate, misc.compile)
    options = RunOptions(
        folder, device, misc.checkpoint_steps, misc.progress, misc.log_seconds, speed
    )
    if misc.tensorboard:
        link = TensorBoardLink(link, folder)
    solver = Solver(parts, train, valid, options, link, stop)
    _seed_rank(cfg.seed)
    solver.resume()
    # last, so that a start that failed leaves nothing to compare the mended one with
    lock.write(start.origin if start else None)
    return solver


@dataclass(frozen=True)
class _Heard:
    """What a model hears in training.

    Attributes:
        augments: on the device.
        loader_augments: in the loader's workers.
        plan: what the items are like.
        items: as they leave the workers.
    """

    augments: BatchAugments
    loader_augments: LoaderAugments
    plan: ItemPlan
    items: TrainingItems

    @property
    def segment_frames(self) -> int:
        """Samples that reach the model."""
        return self.plan.segment_frames - self.augments.extra_frames

    @property
    def augmentations(self) -> tuple[str, ...]:
        """Names of all of them."""
        in_workers = tuple(augment.name for augment in self.loader_augments.augments)
        return in_workers + tuple(augment.name for augment in self.augments.augments)


def _heard(
    cfg: DictConfig,
    train: TrainConfig,
    dataset: Any,
    train_set: TrackSet,
    targets: TargetMap,
    model: Separator,
    device: torch.device,
) -> _Heard:
    augments = build_augments(cfg, model.spec)
    loader_augments = build_loader_augments(cfg, model.spec)
    distillation = build_distillation(cfg)
    # of the data sets whose labels may be wrong
    stand_ins = dataset.stand_ins(train_set) if isinstance(dataset, LabelNoiseDataset) else None
    frames = model.spec.frames(train.segment or model.segment) + augments.extra_frames
    plan = ItemPlan(
        frames,
        train.steps * train.batch_size,
        cfg.seed,
        model.inference.normalise,
        train.batch_size,
        math.lcm(augments.batch_multiple, getattr(distillation, "group_size", 1)),
        loader_augments.for_segments(frames) if loader_augments.augments else None,
        train.fixed_crops,
        stand_ins,
        first_songs(distillation, train_set, targets, model.spec, device),
    )
    items = training_items(train_set, targets, plan, distillation)
    return _Heard(augments, loader_augments, plan, items)


def _seed_rank(seed: int) -> None:
    """Give each rank but the main one draws of its own (dropout)."""
    if not distrib.is_main():
        torch.manual_seed(derive_seed(seed, "rank", distrib.rank()))


def _tell(
    cfg: DictConfig, train: TrainConfig, train_set: TrackSet, model: Separator, frames: int
) -> None:
    parameters = sum(p.numel() for p in model.parameters())
    logger.info(
        "%s with %.2f M parameters: %s of %d songs (%.0f min), %d updates of %d x %.4g s",
        cfg.model.name,
        parameters / 1e6,
        ", ".join(model.spec.sources),
        len(train_set.tracks),
        train_set.seconds / 60,
        train.steps * train.epochs,
        train.batch_size,
        frames / model.spec.samplerate,
    )


def _validation_metric(config: ValidConfig) -> SingleMetric:
    metric = registry.build("metric", {"name": config.metric}, where="valid.metric")
    if not isinstance(metric, SingleMetric):
        names = ", ".join(measure.name for measure in metric.measures)
        raise ConfigError(
            f"valid.metric: {config.metric} gives several scores ({names}); "
            "the best model is chosen by one, such as nsdr"
        )
    return metric


def _check_batch(train: TrainConfig, group: int) -> None:
    share = train.batch_size // distrib.world_size()
    if share % group:
        raise ConfigError(
            f"train.batch_size: {share} segments a process are no multiple of {group}, which "
            "augment.batch.remix.group_size (or distill.group_size) asks for; change one of them"
        )


def _test_set(dataset: Any, split: str) -> TrackSet | None:
    """Return the split to test on, or None where the data has none (a run can do without)."""
    if not dataset.has_split(split):
        logger.warning("The data set has no %s split: the best model will not be tested", split)
        return None
    tracks: TrackSet = dataset.split(split)
    return tracks
