"""What the tools that judge separations without references share: options and released models."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mss.core.normalise import Normalisation
    from mss.core.types import Normalise, Separate
    from mss.distill.quality.config import QualityConfig
    from mss.release.repo import Release


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the models."""
    parser.add_argument(
        "--repo",
        type=Path,
        help="folder of released models (default: $STEMGRID_REPO, ./release_models, the user's)",
    )
    parser.add_argument(
        "-n", "--name", help="full name, signature or unique start (default: the repo's default)"
    )
    parser.add_argument(
        "--second",
        metavar="NAME",
        help="a model of another architecture, whose agreement with the first is a score, too",
    )
    parser.add_argument(
        "--plugins",
        action="store_true",
        help="let an installed plug-in give a model's architecture",
    )


def add_score_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how scores are taken."""
    parser.add_argument(
        "--scores",
        metavar="NAME,...",
        help="only these (default: all): residual, agreement, model_agreement, reseparation,"
        " leakage, remix, envelopes, energy",
    )
    parser.add_argument(
        "--segment", type=float, default=6.0, metavar="S", help="seconds (default: %(default)g)"
    )
    parser.add_argument(
        "--context",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds around a segment that are separated with it (default: %(default)g)",
    )
    parser.add_argument(
        "--shifts",
        type=int,
        default=4,
        metavar="K",
        help="shifts in time of the agreement, 4 or more (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of shifts and remix (default: 0)")


def quality_config(args: argparse.Namespace) -> QualityConfig:
    """Return what `add_score_options` was given.

    Raises:
        ConfigError: a value makes no sense.
    """
    from mss.distill.quality.config import QualityConfig
    from mss.distill.quality.scores import SCORES

    names = SCORES if args.scores is None else filter(None, map(str.strip, args.scores.split(",")))
    return QualityConfig(
        scores=tuple(names),
        segment=args.segment,
        context=args.context,
        shifts=args.shifts,
        seed=args.seed,
    )


def window_separator(
    release: Release,
    samplerate: int,
    normalisation: Callable[[Normalise], Normalisation],
    batch_size: int = 1,
    device: torch.device | str | None = None,
) -> Separate:
    """Return the function that separates windows of one recording, and estimates from it.

    A model that is normalised by the whole recording gets its windows, and the estimates that are
    separated again, normalised by that same recording.

    Args:
        release: the model or bag.
        samplerate: Hz of the recording.
        normalisation: of the recording, of the kind that the model asks for.
        batch_size: chunks separated together.
        device: where the model is.
    """
    from mss.eval.separation import recording_separator
    from mss.infer.bag import bag_chunk_fn

    of_recording = normalisation(release.inference.normalise)
    separate = recording_separator(
        bag_chunk_fn(release.members, release.weights),
        release.spec,
        replace(release.inference, normalise="none"),
        samplerate,
        batch_size,
        device,
    )
    return lambda mix: of_recording.undo(separate(of_recording.apply(mix)))


def architectures(release: Release) -> frozenset[str]:
    """Return the registered names of what is in a release."""
    return frozenset(header.arch for header in release.headers)


def same_architecture_note(first: Release, second: Release) -> tuple[str, ...]:
    """Return, if so, that the second model is of the first one's architecture."""
    if not (both := architectures(first) & architectures(second)):
        return ()
    return (
        f"{first.name} and {second.name} are both {' and '.join(sorted(both))}: models of one"
        " architecture may agree on the same errors",
    )
