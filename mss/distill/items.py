"""The training items of a run: of its labelled songs, and of those that a distillation adds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.rng import derive_seed
from mss.core.targets import TargetMap
from mss.core.types import Normalise
from mss.data.folder import FolderDataset, FolderKeys
from mss.data.mixed import MixedSegments, Shares, UnlabelledSegments
from mss.data.segments import Beginning, LoaderAugment, SegmentDataset, Segments, Trust
from mss.data.silent import SilentSpan, SilentStemSegments
from mss.data.stand_ins import StandIns
from mss.data.tracks import MIXTURE, TrackSet
from mss.distill.pseudo import LABELS, LabelTrust, PseudoLabelConfig, read_facts, read_labels
from mss.distill.silent_stem import SilentStemConfig
from mss.distill.unlabelled import UnlabelledConfig

SILENCE = "silence.json"


@dataclass(frozen=True)
class ItemPlan:
    """What training items are like, whichever songs they are of.

    Attributes:
        segment_frames: samples, as the batch augmentations get them.
        items: of an epoch, over all ranks.
        seed: of the run.
        normalise: as the model's contract says.
        batch_size: items of an update, over all ranks.
        group: consecutive items among which stems may be exchanged.
        loader_augment: of the labelled and pseudo-labelled songs.
        fixed: every epoch has the same crops.
        stand_ins: for wrong stems of the labelled songs.
        beginning: of the labelled songs.
    """

    segment_frames: int
    items: int
    seed: int
    normalise: Normalise = "none"
    batch_size: int = 1
    group: int = 1
    loader_augment: LoaderAugment | None = None
    fixed: bool = False
    stand_ins: StandIns | None = None
    beginning: Beginning | None = None

    def labelled(
        self, tracks: TrackSet, items: int, seed: int, beginning: Beginning | None = None
    ) -> SegmentDataset:
        """Return so many items of the labelled songs."""
        augment = self.loader_augment
        return self.dataset(tracks, items, seed, augment, None, beginning, self.stand_ins)

    def dataset(
        self,
        tracks: TrackSet,
        items: int,
        seed: int,
        augment: LoaderAugment | None = None,
        trust: Trust | None = None,
        beginning: Beginning | None = None,
        stand_ins: StandIns | None = None,
    ) -> SegmentDataset:
        """Return so many items of some songs."""
        return SegmentDataset(
            tracks,
            self.segment_frames,
            items,
            seed,
            self.normalise,
            augment,
            self.fixed,
            trust,
            beginning,
            stand_ins,
        )


@dataclass(frozen=True)
class TrainingItems:
    """The items of a run, and what else than its data set they are of.

    Attributes:
        segments: the items.
        added: songs beside those of the data set.
        fingerprints: of what decides, beside the config, which songs are used and how.
        origins: of added songs whose stems were made from a recording, the hash of its file.
    """

    segments: Segments
    added: tuple[TrackSet, ...] = ()
    fingerprints: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Added:
    """Songs that a distillation adds; see TrainingItems."""

    tracks: TrackSet
    segments: Segments
    fingerprints: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)


def training_items(
    tracks: TrackSet, targets: TargetMap, plan: ItemPlan, config: Any
) -> TrainingItems:
    """Return the items of a run.

    Args:
        tracks: the labelled songs.
        targets: from their stems to the sources.
        plan: what the items are like.
        config: of the distillation; one that adds no songs (or None) leaves the labelled ones.

    Raises:
        ConfigError, DataError: of the songs to add: no folder is named, it is not there, it does
            not fit the data set.
    """
    if plan.fixed and plan.beginning is not None:
        raise ConfigError(
            "distill.curriculum.epochs: with train.fixed_crops the songs of the first epochs would "
            "be those of all; set one of the two to 0 or false"
        )
    marks = _beginning_mark(plan.beginning)
    if plan.stand_ins is not None and plan.beginning is not None:
        raise ConfigError(
            "distill.curriculum.epochs: songs with wrong stems can't be told to be easy or hard, "
            "and stems of others stand in for them; set it to 0, or dset.per_stem to false"
        )
    if not isinstance(config, PseudoLabelConfig | UnlabelledConfig):
        dataset = plan.labelled(tracks, plan.items, plan.seed, plan.beginning)
        return TrainingItems(dataset, fingerprints=marks)
    shares = Shares(Fraction(str(config.share)), plan.group)
    count, extra = shares.counts(plan.items)
    if not extra or not count:
        raise ConfigError(
            f"distill.share: {config.share} of {plan.items} items, in groups of {plan.group}, "
            "leaves one kind without any; raise train.items"
        )
    _check_batches(shares, plan, config)
    first = plan.labelled(tracks, count, plan.seed, plan.beginning)
    if isinstance(config, PseudoLabelConfig):
        added = _pseudo_labelled(config, tracks, plan, extra)
    else:
        added = _unlabelled(config, tracks, targets, plan, extra)
    mixed = MixedSegments(first, added.segments, shares, plan.items)
    return TrainingItems(mixed, (added.tracks,), marks + added.fingerprints, added.origins)


def _beginning_mark(beginning: Beginning | None) -> tuple[str, ...]:
    """Return a hash of the songs of the first epochs: the model that chose them may be another."""
    if beginning is None:
        return ()
    songs = json.dumps(["beginning", *sorted(beginning.songs)])
    return (hashlib.sha256(songs.encode()).hexdigest(),)


def _check_batches(
    shares: Shares, plan: ItemPlan, config: PseudoLabelConfig | UnlabelledConfig
) -> None:
    """Make sure that at least a half of every batch is labelled: else weights would cancel out."""
    steps = plan.items // plan.batch_size
    ends = [shares.counts(step * plan.batch_size)[1] for step in range(steps + 1)]
    most = max(after - before for before, after in pairwise(ends))
    if 2 * most > plan.batch_size:
        keys = "augment.batch.remix.group_size"
        if hasattr(config, "group_size"):
            keys += " and distill.group_size"
        raise ConfigError(
            f"distill.share: {config.share} makes {most} of the {plan.batch_size} items of a batch "
            f"others than labelled ones, which come in groups of {plan.group}; at least half have "
            f"to be labelled: take train.batch_size={2 * plan.group} or a multiple of it, or a "
            f"smaller {keys}"
        )


def _pseudo_labelled(
    config: PseudoLabelConfig, tracks: TrackSet, plan: ItemPlan, items: int
) -> _Added:
    added = _songs(config, tracks, tracks.stems)
    root = _root(config)
    files = {track.name: _song_folder(root, track.name) / LABELS for track in added.tracks}
    labels = {name: read_labels(path) for name, path in files.items()}
    for name, rows in labels.items():
        if missing := set(tracks.stems) - {row.stem for row in rows}:
            raise DataError(
                f"{files[name]}: has no label of {', '.join(sorted(missing))}; remove the song's "
                "folder and run python -m tools.pseudo_label again"
            )
    trust = LabelTrust(labels, config.select)
    marks = tuple(hashlib.sha256(files[name].read_bytes()).hexdigest() for name in sorted(files))
    origins = {name: str(read_facts(path).get("sha256")) for name, path in files.items()}
    seed = derive_seed(plan.seed, "pseudo_label")
    segments = plan.dataset(added, items, seed, plan.loader_augment, trust)
    return _Added(added, segments, marks, origins)


def _unlabelled(
    config: UnlabelledConfig, tracks: TrackSet, targets: TargetMap, plan: ItemPlan, items: int
) -> _Added:
    added = _songs(config, tracks, (MIXTURE,))
    seed = derive_seed(plan.seed, "unlabelled")
    if not isinstance(config, SilentStemConfig):
        recordings = plan.dataset(added, items, seed)
        return _Added(added, UnlabelledSegments(recordings, tracks.stems))
    path = _root(config) / SILENCE
    spans = read_silence(path)
    alone = {stems[0] for stems in targets.stems if len(stems) == 1}
    spans = [span for span in spans if span.stem in alone]
    known = {track.name for track in added.tracks}
    for span in spans:
        if span.song not in known:
            hint = nearest_name_hint(span.song, known)
            raise DataError(f"{path}: there is no recording {span.song!r} beside it.{hint}")
    labelled = plan.labelled(tracks, plan.items, seed)
    segments = SilentStemSegments(added, spans, labelled, items, seed)
    return _Added(added, segments, (hashlib.sha256(path.read_bytes()).hexdigest(),))


def read_silence(path: Path) -> list[SilentSpan]:
    """Return where which stem is silent, as `python -m tools.presence` wrote it.

    Raises:
        DataError: the file is not there or can't be read.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return [
            SilentSpan(str(row["song"]), str(row["stem"]), int(row["start"]), int(row["frames"]))
            for row in content["silent"]
        ]
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: not there; python -m tools.presence finds where stems are silent"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: can't be read ({type(error).__name__}: {error})") from error


def _songs(
    config: PseudoLabelConfig | UnlabelledConfig, tracks: TrackSet, stems: Sequence[str]
) -> TrackSet:
    """Return the songs to add, in the audio format of the labelled ones."""
    dataset = FolderDataset(
        FolderDataset.Config(
            root=str(_root(config)),
            stems=tuple(stems),
            # of recordings without stems the mixture is what is read
            mixture="" if tuple(stems) == (MIXTURE,) else MIXTURE,
            samplerate=tracks.samplerate,
            channels=tracks.channels,
            cache=config.cache,
        ),
        name=str(config.songs),
        # stems and sample rate are those of the data set: only the songs can be others
        keys=FolderKeys("distill.root", "distill.root", None, "distill.cache"),
    )
    return dataset.every_song()


def _root(config: PseudoLabelConfig | UnlabelledConfig) -> Path:
    if not config.songs:
        raise ConfigError(
            "distill.songs: not set; it names the added songs in the run's signature, as dset.name "
            "does the data set: distill.songs=NAME"
        )
    if not config.root:
        raise ConfigError("distill.root: not set; say where the songs lie: distill.root=PATH")
    return Path(config.root).expanduser()


def _song_folder(root: Path, name: str) -> Path:
    split = root / "train" / name
    return split if split.is_dir() else root / name
