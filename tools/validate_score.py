"""Do reference-free scores tell quality? ``python -m tools.validate_score -n NAME dset=...``.

The scores of mss.distill.quality on labelled songs that the model never saw, against the true SDR;
the protocol, and what counts as success, is that of mss.distill.quality.validation. It may say no.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mss.core.errors import ConfigError, StemgridError, nearest_name_hint
from tools.quality import (
    add_model_options,
    add_score_options,
    quality_config,
    same_architecture_note,
    window_separator,
)

if TYPE_CHECKING:
    import torch

    from mss.core.targets import TargetMap
    from mss.data.tracks import IndexedTrack, TrackSet
    from mss.distill.quality.config import QualityConfig
    from mss.distill.quality.scorer import SegmentScorer
    from mss.distill.quality.store import ScoredTrack
    from mss.distill.quality.table import SegmentTable
    from mss.distill.quality.validation import Validation
    from mss.release.repo import Release


def main(argv: Sequence[str] | None = None) -> int:
    """Validate the scores of a released model, write the report, return the exit status."""
    args = _parser().parse_intermixed_args(argv)
    try:
        options = Options(
            config=quality_config(args),
            out=args.out,
            overrides=tuple(args.overrides),
            repo=args.repo,
            name=args.name,
            second=args.second,
            splits=_listed(args.splits),
            tracks=_listed(args.tracks),
            limit_seconds=args.limit_seconds,
            regressors=not args.no_regressors,
            ridge=args.ridge,
            anew=args.anew,
            plugins=args.plugins,
        )
        print(validate_release(options))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"validate_score: {error}", file=sys.stderr)
        return 1
    return 0


@dataclass(frozen=True)
class Options:
    """What is validated on what.

    Attributes:
        config: of the scores.
        out: the report goes to ``out/MODEL/DATASET-SPLIT``.
        overrides: of the configuration's groups `dset`, `targets`, `test` and `misc`.
        repo: folder of released models; None: mss.release.repo.default_repo_root().
        name: of the model; None: the repo's default.
        second: name of a model of another architecture.
        splits: whose songs are taken together; empty: `test.split`.
        tracks: names of the songs that are taken; empty: all.
        limit_seconds: of the middle of each song; None: all of it.
        regressors: fit and judge them.
        ridge: where the fitted ridge goes as well, under a name that is known beforehand.
        anew: songs that are scored already are scored again.
        plugins: let an installed plug-in give an architecture.

    Raises:
        ConfigError: the limit is no duration.
    """

    config: QualityConfig
    out: Path = Path("validation")
    overrides: tuple[str, ...] = ()
    repo: Path | None = None
    name: str | None = None
    second: str | None = None
    splits: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ()
    limit_seconds: float | None = None
    regressors: bool = True
    ridge: Path | None = None
    anew: bool = False
    plugins: bool = False

    def __post_init__(self) -> None:
        if self.limit_seconds is not None and not 0 < self.limit_seconds < math.inf:
            raise ConfigError(f"--limit-seconds: {self.limit_seconds:g} s; give more than 0")


def validate_release(options: Options) -> str:
    """Validate the scores of a released model, write the report, return its summary as text.

    Raises:
        ConfigError, DataError: what is asked for makes no sense, is not there, or was seen by the
            model in its training.
    """
    # Here, not above: --help needs neither torch nor hydra.
    from mss.core.files import check_file_place, check_folder_place
    from mss.distill.quality.scores import ENERGY
    from mss.distill.quality.table import SegmentTable
    from mss.distill.quality.validation import validate_scores
    from mss.distill.quality.validation_report import render_summary

    check_folder_place(options.out, "Give another -o.")
    if options.ridge is not None:
        check_file_place(options.ridge, "Give another --ridge.")
    # what all others are held against
    scores = tuple(dict.fromkeys((*options.config.scores, ENERGY)))
    options = replace(options, config=replace(options.config, scores=scores))
    setup = _set_up(options)
    songs = list(_scored(setup, options))
    table = SegmentTable.of(row for song in songs for row in song.rows)
    validation = validate_scores(table, seed=options.config.seed, regressors=options.regressors)
    notes = (*setup.notes, *_silent_notes(songs))
    _write(setup, options, validation, table, notes)
    blocks = [*(f"note: {note}" for note in notes), render_summary(validation)]
    return "\n\n".join([*blocks, f"Report: {setup.folder / REPORT}"])


REPORT = "report.md"


@dataclass(frozen=True)
class _Setup:
    """Models and songs.

    Attributes:
        release: the model that is judged.
        second: the other one.
        sets: the songs of each split.
        targets: rows of the model's sources that are known.
        adds_up: the model's sources are all that a mixture holds.
        device: of the models.
        batch_size: chunks separated together.
        progress: show a bar.
        folder: of the report.
        notes: what a reader should know.
    """

    release: Release
    second: Release | None
    sets: tuple[TrackSet, ...]
    targets: TargetMap
    adds_up: bool
    device: torch.device
    batch_size: int
    progress: bool
    folder: Path
    notes: tuple[str, ...]

    @property
    def tracks(self) -> tuple[IndexedTrack, ...]:
        return tuple(track for tracks in self.sets for track in tracks.tracks)


def _set_up(options: Options) -> _Setup:
    """Open data and models, and refuse songs that a model learned from."""
    from mss import build
    from mss.distill.quality.unseen import check_unseen
    from mss.release.repo import Repo
    from tools.test_pretrained import match_sources

    cfg = build.compose_config(options.overrides)
    build.prepare_process(cfg)
    test = build.build_test(cfg)
    if test.shifts:
        raise ConfigError(
            f"test.shifts={test.shifts}: the scores draw shifts of their own; leave it out"
        )
    device = build.build_device(cfg)
    repo = Repo(options.repo)
    release = repo.load(options.name, device, options.plugins)
    second = None
    if options.second is not None:
        second = repo.load(options.second, device, options.plugins)
    dataset = build.build_dataset(cfg)
    splits = options.splits or (test.split,)
    sets = _chosen([dataset.split(split) for split in splits], options.tracks)
    notes = check_unseen(release, sets)
    if second is not None:
        notes += (*check_unseen(second, sets), *same_architecture_note(release, second))
    first = sets[0]
    targets = match_sources(build.build_target_map(cfg, first.stems), release, first)
    return _Setup(
        release,
        second,
        sets,
        targets,
        adds_up=set(targets.all_stems) == set(first.stems)
        and set(targets.sources) == set(release.spec.sources),
        device=device,
        batch_size=test.batch_size,
        progress=bool(cfg.misc.progress),
        folder=options.out / release.name / f"{first.name}-{'+'.join(splits)}",
        notes=notes,
    )


def _chosen(sets: Sequence[TrackSet], names: Sequence[str]) -> tuple[TrackSet, ...]:
    """Return the sets with only the songs that are named; all where none is."""
    if not names:
        return tuple(sets)
    known = [track.name for tracks in sets for track in tracks.tracks]
    for name in names:
        if name not in known:
            raise ConfigError(f"--tracks: there is no {name!r}.{nearest_name_hint(name, known)}")
    return tuple(
        replace(tracks, tracks=tuple(track for track in tracks.tracks if track.name in names))
        for tracks in sets
    )


def _scored(setup: _Setup, options: Options) -> Iterator[ScoredTrack]:
    """Yield every song's scores, from the folder where they are there already."""
    from tqdm import tqdm

    from mss.distill.quality.labelled import content_hash, score_labelled
    from mss.distill.quality.store import ScoreStore

    store = ScoreStore(setup.folder, _settings(setup, options), options.anew)
    for track in tqdm(setup.tracks, desc="score", disable=None if setup.progress else True):
        scored = store.read(track.name, content_hash(track))
        if scored is None:
            scorer = _scorer(setup, options, track)
            scored = score_labelled(track, scorer, setup.targets, options.limit_seconds)
            store.write(scored)
        yield scored


def _scorer(setup: _Setup, options: Options, track: IndexedTrack) -> SegmentScorer:
    from mss.distill.quality.scorer import OtherModel, SegmentScorer

    def separator(release: Release) -> Any:
        return window_separator(
            release, track.samplerate, track.normalisation, setup.batch_size, setup.device
        )

    other = None
    if setup.second is not None:
        other = OtherModel(separator(setup.second), setup.second.spec.sources)
    return SegmentScorer(
        separator(setup.release),
        setup.release.spec.sources,
        track.samplerate,
        options.config,
        other=other,
        adds_up=setup.adds_up,
    )


def _settings(setup: _Setup, options: Options) -> dict[str, Any]:
    """Return what decides a song's scores, as plain values. Which songs there are does not."""
    import mss
    from mss.core.registry import dump_config

    rows = zip(setup.targets.sources, map(list, setup.targets.stems), strict=True)
    return {
        "schema": 1,
        "stemgrid": mss.__version__,
        "model": setup.release.name,
        "inference": dump_config(setup.release.inference),
        "second": None if setup.second is None else setup.second.name,
        "device": setup.device.type,
        "dataset": setup.sets[0].name,
        "samplerate": setup.sets[0].samplerate,
        "channels": setup.sets[0].channels,
        "targets": dict(rows),
        "scores": asdict(options.config),
        "limit_seconds": options.limit_seconds,
    }


def _silent_notes(songs: Sequence[ScoredTrack]) -> Iterator[str]:
    """Yield, for each source, in how many segments it is silent and so left out."""
    from mss.distill.quality.table import SILENT_DB

    for source in songs[0].silent if songs else ():
        silent = sum(song.silent[source] for song in songs)
        if silent:
            heard = sum(row.source == source for song in songs for row in song.rows)
            yield (
                f"{source} is silent (below {SILENT_DB:g} dB beside the mixture) in {silent} of"
                f" {silent + heard} segments, which are left out"
            )


def _write(
    setup: _Setup,
    options: Options,
    validation: Validation,
    table: SegmentTable,
    notes: Sequence[str],
) -> None:
    """Write the report as Markdown and JSON, the segments as CSV, and the ridge."""
    from mss.core.files import write_json_atomic, write_text_atomic
    from mss.distill.quality.validation_report import render_report, report_values, segments_csv

    settings = _settings(setup, options)
    songs = {tracks.split: [track.name for track in tracks.tracks] for tracks in setup.sets}
    facts = {
        "model": setup.release.name,
        "second model": settings["second"] or "none",
        "data": f"{settings['dataset']} ({', '.join(songs)})",
        "segments": f"{options.config.segment:g} s, {options.config.context:g} s around them",
        "shifts": str(options.config.shifts),
        "seconds of each song": "all"
        if options.limit_seconds is None
        else f"{options.limit_seconds:g}, from its middle",
        "seed": str(options.config.seed),
        "stemgrid": settings["stemgrid"],
    }
    title = f"What reference-free scores of {setup.release.name} tell"
    folder = setup.folder
    write_text_atomic(folder / REPORT, render_report(validation, title, facts, notes))
    content = {"settings": settings, "tracks": songs, "notes": list(notes)}
    write_json_atomic(folder / "report.json", {**content, **report_values(validation)})
    write_text_atomic(folder / "segments.csv", segments_csv(table))
    if validation.regressor is not None:
        for path in (folder / "ridge.json", options.ridge):
            if path is not None:
                validation.regressor.save(path)


def _listed(text: str | None) -> tuple[str, ...]:
    """Return the names in "a,b"."""
    return () if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.validate_score",
        description="Test on labelled songs whether reference-free scores tell the true SDR, and"
        " do so better than the level of the estimate. Started again, it goes on with the next"
        " song.",
    )
    add_model_options(parser)
    add_score_options(parser)
    parser.add_argument(
        "--splits",
        metavar="SPLIT,...",
        help="songs of several splits together, for a model that saw none (default: test.split)",
    )
    parser.add_argument(
        "--tracks", metavar="NAME,...", help="only these songs (default: all of the split)"
    )
    parser.add_argument(
        "--limit-seconds",
        type=float,
        metavar="S",
        help="only so many seconds from the middle of each song",
    )
    parser.add_argument(
        "--no-regressors", action="store_true", help="leave ridge and gradient boosting out"
    )
    parser.add_argument(
        "--ridge",
        type=Path,
        metavar="FILE",
        help="write the fitted ridge there, too (JSON, for --regressor of other tools)",
    )
    parser.add_argument("--anew", action="store_true", help="score songs again that are scored")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("validation"), help="folder (default: %(default)s)"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="of the configuration, e.g. dset=folder dset.root=PATH test.split=test"
        " targets=vocals_accompaniment misc.device=cpu",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
