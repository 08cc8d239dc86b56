"""A released model, or a bag of them, as a teacher of another model's sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import torch
from einops import einsum, rearrange
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.normalise import file_normalisation
from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, ChunkFn
from mss.distill.release_digest import release_digest
from mss.infer.bag import bag_chunk_fn
from mss.infer.separate import separate
from mss.release.repo import Repo


class ReleasedTeacher:
    """Estimates [B, C, T] -> [B, S, C, T] of a student's sources by a released model.

    A source of the student is the teacher's of that name, or the sum of the teacher's sources that
    are the stems it is the sum of. Each item is taken for a whole recording: its estimates are
    those that `mss.infer.separate.separate` gives for it by the teacher's contract (normalisation,
    chunks, overlap, and what becomes of the last ones), of all items at once.

    Args:
        query: name of the model or bag in the release folder.
        targets: of the student.
        spec: of the student.
        device: where it computes.
        where: the config key that holds the name, for messages.

    Attributes:
        name: full name.
        digest: of everything that decides its estimates of its own sources.
        taught_digest: of everything that decides those of the student's.
        rows: [S, S'] of ones and zeros, from the teacher's sources to the student's.
        taught: names of the student's sources that it can teach.

    Raises:
        ConfigError: there is no such model, or it has another audio format.
    """

    def __init__(
        self,
        query: str,
        targets: TargetMap,
        spec: AudioSpec,
        device: torch.device | str = "cpu",
        where: str = "distill.model",
    ) -> None:
        try:
            release = Repo().load(query, device)
        except DataError as error:
            raise ConfigError(f"{where}: {error}") from error
        own = release.spec
        for field in ("samplerate", "channels"):
            theirs, ours = getattr(own, field), getattr(spec, field)
            if theirs != ours:
                raise ConfigError(
                    f"{where}: {release.name} takes {field} {theirs}, this run has {ours}"
                )
        self.name = release.name
        self.digest = release_digest(release)
        self.rows = source_rows(targets, own.sources)
        mapped = json.dumps([self.digest, targets.sources, self.rows.tolist()])
        self.taught_digest = hashlib.sha256(mapped.encode()).hexdigest()
        self.taught = tuple(
            source for source, row in zip(targets.sources, self.rows, strict=True) if row.any()
        )
        self._release = release
        self._chunk_fn: ChunkFn = bag_chunk_fn(release.members, release.weights)

    def __call__(self, mix: Tensor) -> Tensor:
        """Separate [B, C, T] into the student's sources [B, S, C, T], without gradients.

        Sources that it can't teach are silent.
        """
        with torch.no_grad():
            waves = self._separate(mix)
        return einsum(self.rows.to(waves), waves, "s t, b t c n -> b s c n")

    def _separate(self, mix: Tensor) -> Tensor:
        """Separate [B, C, T] into the teacher's sources [B, S', C, T].

        Items of one length are cut alike, so they pass as one recording of B times C channels.
        """
        items, spec, inference = len(mix), self._release.spec, self._release.inference
        maps = [file_normalisation(item, inference.normalise) for item in mix]
        heard = torch.stack([m.apply(item) for m, item in zip(maps, mix, strict=True)])

        def chunk_fn(chunks: Tensor) -> Tensor:
            parts = self._chunk_fn(rearrange(chunks, "n (b c) t -> (n b) c t", b=items))
            return rearrange(parts, "(n b) s c t -> n s (b c) t", b=items)

        waves = separate(
            chunk_fn,
            replace(spec, channels=items * spec.channels),
            replace(inference, normalise="none"),  # each item by its own
            rearrange(heard, "b c t -> (b c) t"),
        )
        waves = rearrange(waves, "s (b c) t -> b s c t", b=items)
        return torch.stack([m.undo(wave) for m, wave in zip(maps, waves, strict=True)])


def source_rows(targets: TargetMap, sources: tuple[str, ...]) -> Tensor:
    """Return [S, S']: which of a teacher's sources S' sum to each of a student's sources S.

    A row of zeros: the teacher does not know that source.
    """
    rows = torch.zeros(len(targets.sources), len(sources))
    for index, (source, stems) in enumerate(zip(targets.sources, targets.stems, strict=True)):
        if source in sources:
            rows[index, sources.index(source)] = 1
        elif all(stem in sources for stem in stems):
            for stem in stems:
                rows[index, sources.index(stem)] = 1
    return rows


def blends(
    values: Mapping[str, float], default: float, sources: tuple[str, ...], where: str
) -> Tensor:
    """Return a share in [0, 1] for each source [S]: that which is named, else the default.

    Raises:
        ConfigError: a source that does not exist, or a share outside of [0, 1].
    """
    for name in values:
        if name not in sources:
            known = ", ".join(sources)
            raise ConfigError(f"{where}.{name}: the model has no such source; it has {known}")
    shares = [values.get(source, default) for source in sources]
    for source, share in zip(sources, shares, strict=True):
        if not 0 <= share <= 1:
            raise ConfigError(f"{where}: {share} for {source} is not in [0, 1]")
    return torch.tensor(shares, dtype=torch.float32)
