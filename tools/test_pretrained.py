"""Score a released model: ``python -m tools.test_pretrained -n NAME [-o results] [overrides]``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mss.core.errors import ConfigError, StemgridError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mss.core.targets import TargetMap
    from mss.data.tracks import TrackSet
    from mss.release.repo import Release


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate a released model or bag, print its scores, return the exit status."""
    args = _parser().parse_intermixed_args(argv)
    try:
        print(
            evaluate_release(
                args.repo, args.name, args.out, args.overrides, args.record, args.plugins
            )
        )
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"test_pretrained: {error}", file=sys.stderr)
        return 1
    return 0


def evaluate_release(
    repo_root: Path | None,
    name: str | None,
    out: Path,
    overrides: Sequence[str] = (),
    record: bool = False,
    plugins: bool = False,
) -> str:
    """Evaluate the release `name`, write its results below `out` and return the table.

    Args:
        repo_root: folder of released models; None: mss.release.repo.default_repo_root().
        name: full name, signature or unique start; None: the repo's default.
        out: results go to ``out/<full name>/<data set>/``.
        overrides: of the configuration's groups `dset`, `targets`, `test` and `misc`.
        record: add the scores to the repo's index and the model's card.
        plugins: let an installed plug-in give the architecture.
    """
    # Here, not above: --help needs neither torch nor hydra.
    from mss import build
    from mss.core import registry
    from mss.eval.evaluate import EvaluationConfig, evaluate_tracks
    from mss.eval.results import Protocol, ResultsFolder, System
    from mss.eval.separation import recording_separator
    from mss.eval.table import plural, render_summary
    from mss.infer.bag import bag_chunk_fn
    from mss.metrics.base import make_metrics
    from mss.release.repo import BagEntry, Repo

    cfg = build.compose_config(overrides)
    build.prepare_process(cfg)
    test = registry.make_config(EvaluationConfig, _plain(cfg.test), "test")
    metrics = make_metrics(test.metrics)
    device = build.choose_device(cfg.misc.device)

    repo = Repo(repo_root)
    if record and isinstance(repo.resolve(name), BagEntry):
        raise ConfigError("--record: a bag has no card to add scores to; leave it out")
    release = repo.load(name, device, plugins)
    tracks = build.build_dataset(cfg).split(test.split)
    targets = match_sources(build.build_target_map(cfg, tracks.stems), release, tracks)

    system = System(release.name, release.inference, test.batch_size)
    protocol = Protocol(
        dataset=tracks.name,
        split=tracks.split,
        fingerprint=tracks.fingerprint,
        samplerate=tracks.samplerate,
        channels=tracks.channels,
        targets=targets,
        measures=tuple(measure for metric in metrics for measure in metric.measures),
    )
    folder = ResultsFolder(out, system, protocol)
    separate = recording_separator(
        bag_chunk_fn(release.members, release.weights),
        release.spec,
        release.inference,
        tracks.samplerate,
        batch_size=test.batch_size,
        device=device,
    )
    results = evaluate_tracks(
        separate, tracks.tracks, targets, metrics, cfg.misc.progress, folder.write_track
    )
    summary = folder.write_summary(results)
    if record:
        repo.add_scores(release.name, folder.index_scores(summary))
    head = f"{release.name} on {plural(len(results), 'song')} of {tracks.name} ({tracks.split})"
    return f"{head}\n\n{render_summary(summary, protocol)}\n\nResults: {folder.path}"


def match_sources(targets: "TargetMap", release: "Release", tracks: "TrackSet") -> "TargetMap":
    """Return the rows of `targets` that the model gives, in the order of its sources.

    Raises:
        ConfigError: no row for a source of the model; the message says which `targets` to give.
    """
    rows = dict(zip(targets.sources, targets.stems, strict=True))
    missing = [source for source in release.spec.sources if source not in rows]
    if missing:
        give = " ".join(f"'+targets.{source}=[STEM,...]'" for source in release.spec.sources)
        raise ConfigError(
            f"targets: {release.name} separates {', '.join(release.spec.sources)}, but nothing says"
            f" which stems of {tracks.name} ({', '.join(tracks.stems)}) make up"
            f" {' and '.join(missing)}; give targets=CHOICE (see conf/targets) or {give}"
        )
    sources = release.spec.sources
    return replace(targets, sources=sources, stems=tuple(rows[source] for source in sources))


def _plain(group: "DictConfig") -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(group, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.test_pretrained",
        description="Score a released model on a data set; no training configuration is needed.",
    )
    parser.add_argument(
        "--repo",
        type=Path,
        help="folder of released models (default: $STEMGRID_REPO, ./release_models, the user's)",
    )
    parser.add_argument(
        "-n", "--name", help="full name, signature or unique start (default: the repo's default)"
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("results"), help="folder (default: %(default)s)"
    )
    parser.add_argument(
        "--record", action="store_true", help="add the scores to the repo's index and model card"
    )
    parser.add_argument(
        "--plugins",
        action="store_true",
        help="let an installed plug-in give the model's architecture",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="of the configuration, e.g. dset=folder dset.root=PATH test=museval misc.device=cpu",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
