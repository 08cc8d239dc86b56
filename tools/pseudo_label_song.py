"""One song of `tools.pseudo_label`: its stems and its labels, which appear when both are whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mss.core.errors import ConfigError, DataError, StemgridError
from tools.quality_song import given_stems, open_song, scored_row, segment_scorer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mss.core.audio_formats import OutputFormat
    from mss.distill.pseudo import Label
    from mss.distill.pseudo_provenance import Provenance
    from mss.distill.quality.config import QualityConfig
    from mss.distill.quality.recording import Recording
    from mss.distill.quality.regressor import RidgeRegressor
    from mss.release.repo import Release
    from tools.quality_song import OpenedSong

logger = logging.getLogger(__name__)

EXPECTED, TRUE = "sdr", "true_sdr"
"""Names of the score that a regressor expects, and of the one that references give."""

TRAIN = "train"
_STEMS = "stems"


@dataclass(frozen=True)
class Options:
    """How songs are labelled.

    Attributes:
        config: of the scores.
        out: folder of the labelled songs.
        regressor: of tools.validate_score: gives the expected SDR, and by it the weight.
        references: a folder with the true stems, SONG/STEM.wav, for experiments.
        format: of the stems.
    """

    config: QualityConfig
    out: Path
    regressor: RidgeRegressor | None
    references: Path | None
    format: OutputFormat


class SongLabeller:
    """Labels songs by one teacher in one way.

    Args:
        release: the teacher.
        options: how.
    """

    def __init__(self, release: Release, options: Options) -> None:
        from mss.distill.release_digest import release_digest
        from mss.infer.bag import bag_chunk_fn
        from mss.infer.engine import ModelEngine
        from mss.infer.output_map import consistent

        self.options = options
        self._release = release
        self._digest = release_digest(release)
        chunk_fn = bag_chunk_fn(release.members, release.weights)
        self._engine = consistent(ModelEngine(chunk_fn, release.spec, release.inference))

    def labels(self, name: str) -> Path:
        """Return the file of a song's labels: where it is, the song is done."""
        from mss.distill.pseudo import LABELS

        return self._folder(name) / LABELS

    def finished(self) -> list[str]:
        """Return the names of all songs that are done, whoever labelled them."""
        from mss.distill.pseudo import LABELS

        return sorted(path.parent.name for path in self._train.glob(f"*/{LABELS}"))

    def check_teacher(self, name: str, entries: Mapping[str, Any]) -> None:
        """Make sure that a folder holds one teacher's labels.

        Args:
            name: of a song that is done.
            entries: of its labels, as `mss.distill.pseudo.read_facts` gives them.

        Raises:
            ConfigError: another model labelled it.
        """
        found, own = entries.get("teacher"), self._release.name
        if not isinstance(found, str):
            raise DataError(
                f"{self.labels(name)}: damaged, it names no teacher; remove the folder, and the "
                "song is labelled again"
            )
        provenance = entries.get("provenance")
        digest = provenance.get("teacher") if isinstance(provenance, dict) else None
        if digest == self._digest or (digest is None and found == own):
            return
        other = f"{found}, not by {own}"
        if found == own:
            other = f"another {own}, with other weights or another way to run it"
        raise ConfigError(
            f"{self.labels(name)}: this song was labelled by {other}; give another --out, or "
            "remove the songs there"
        )

    def changes(self, name: str, path: Path, entries: Mapping[str, Any]) -> tuple[str, ...]:
        """Return why a song that is done has to be made again; (): it has not.

        Args:
            name: of the song.
            path: its recording.
            entries: of its labels.

        Raises:
            DataError: the recording, or a reference, can't be read.
        """
        if found := self._provenance(name, path).changes(entries):
            return found
        return () if all(stem.is_file() for stem in self._stems(name)) else ("a missing stem",)

    def label(self, name: str, path: Path) -> None:
        """Write a song's stems, and last its labels.

        What an earlier call left of the song stays until all is made; then its labels go first.

        Args:
            name: of the song.
            path: its recording.

        Raises:
            DataError: the recording, or a reference, is not what it should be.
        """
        from mss.core.files import write_text_atomic
        from mss.distill.pseudo import write_labels
        from mss.infer.staging import staged

        # before the recording is separated: one that is replaced meanwhile is found the next time
        provenance = self._provenance(name, path)
        finals = self._stems(name)
        if any(final.exists() and final.samefile(path) for final in finals):
            raise DataError(f"{path}: a stem would overwrite it; give another --out")
        with (
            open_song(path) as song,
            self._references(name, song) as truth,
            staged(self._train, name, finals) as staging,
        ):
            folder = staging.folder / _STEMS
            try:
                rows = self._separate_and_score(name, song, truth, folder)
            except StemgridError as error:  # the hidden folder is not the user's
                message = str(error).replace(str(folder), str(self._folder(name)))
                raise type(error)(message) from error
            for final in finals:
                os.replace(folder / final.name, staging.files[final])
            self._retire(name)
        facts = {
            "song": name,
            "sha256": provenance.recording,
            "teacher": self._release.name,
            "samplerate": song.samplerate,
            "files": [final.name for final in finals],
            **provenance.entries(),
        }
        write_text_atomic(self.labels(name), write_labels(rows, facts))

    @property
    def _train(self) -> Path:
        return self.options.out / TRAIN

    def _folder(self, name: str) -> Path:
        return self._train / name

    def _stems(self, name: str) -> list[Path]:
        ending = self.options.format.extension
        return [self._folder(name) / f"{stem}{ending}" for stem in self._release.spec.sources]

    def _provenance(self, name: str, path: Path) -> Provenance:
        from mss.data.scan import AUDIO_SUFFIXES
        from mss.distill.pseudo_provenance import Provenance

        options, references = self.options, None
        if options.references is not None:
            folder = options.references / name
            files = [
                folder / f"{source}{ending}"
                for source in self._release.spec.sources
                for ending in AUDIO_SUFFIXES
            ]
            # one that is missing is told where they are opened
            references = {file.name: _sha256(file) for file in files if file.is_file()}
        return Provenance(
            recording=_sha256(path),
            teacher=self._digest,
            scores=options.config,
            regressor=options.regressor,
            references=references,
            format=options.format,
        )

    def _references(self, name: str, song: OpenedSong) -> AbstractContextManager[Recording | None]:
        if self.options.references is None:
            return nullcontext()
        folder = self.options.references / name
        return given_stems(folder, self._release.spec.sources, song, "--references")

    def _separate_and_score(
        self, name: str, song: OpenedSong, truth: Recording | None, folder: Path
    ) -> list[Label]:
        """Write a song's stems into a folder; return their labels."""
        from mss.infer.files import separate_file

        path = song.reader.info.path
        made = separate_file(
            self._engine, path, folder.parent, self.options.format, name=folder.name
        )
        _warn_of_clipping(name, made.clipped)
        with given_stems(folder, self._release.spec.sources, song, "the stems") as stems:
            return list(self._score(song, stems, truth))

    def _score(
        self, song: OpenedSong, stems: Recording, truth: Recording | None
    ) -> Iterator[Label]:
        """Yield a label for each stem of each segment."""
        from mss.distill.pseudo import Label
        from mss.distill.quality.scorer import score_segments

        scorer = segment_scorer(song, self._release, None, self.options.config)
        for segment in score_segments(scorer, song.recording(), stems):
            row = scored_row(
                segment.start / song.samplerate,
                segment.frames / song.samplerate,
                segment.scores,
                self.options.regressor,
            )
            true = None
            if truth is not None:
                true = true_sdr(truth.window(segment.start, segment.frames), segment.estimates)
            for place, source in enumerate(self._release.spec.sources):
                scores = {score: values[source] for score, values in row.scores.items()}
                if row.sdr is not None:
                    scores[EXPECTED] = row.sdr[source]
                if true is not None:
                    scores[TRUE] = true[place]
                weight = 1.0 if row.weight is None else row.weight[source]
                yield Label(segment.start, segment.frames, source, weight, scores)

    def _retire(self, name: str) -> None:
        """Let a song count as not done, and remove those of its stems that are not replaced.

        Stems go before the labels, which alone tell which files are theirs.
        """
        from mss.distill.pseudo import read_facts

        labels = self.labels(name)
        if not labels.exists():
            return
        kept = {stem.name for stem in self._stems(name)}
        for file in read_facts(labels).get("files", ()):
            if file not in kept:
                (self._folder(name) / Path(file).name).unlink(missing_ok=True)
        labels.unlink()


def true_sdr(references: Any, estimates: Any) -> list[float]:
    """Return the nSDR (dB) of each source of a segment [S, C, T], NaN where it is silent."""
    from mss.metrics.energy import NSDR

    scores: list[float] = NSDR()(references, estimates, 1).tolist()
    return scores


def _warn_of_clipping(name: str, counts: Mapping[str, int]) -> None:
    clipped = ", ".join(f"{stem}: {count}" for stem, count in counts.items() if count)
    if clipped:
        logger.warning(
            "%s: samples beyond full scale were cut off (%s); --format wav32 keeps them",
            name,
            clipped,
        )


def _sha256(path: Path) -> str:
    from mss.core.files import file_sha256

    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(
            f"{path}: can't be read ({error.strerror or error}); put the file back, or check the "
            "disk and its permissions"
        ) from error
