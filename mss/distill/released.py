"""A released model, or a bag of them, as a teacher of another model's sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from einops import einsum
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.normalise import file_normalisation
from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, ChunkFn
from mss.infer.backends.store import model_digest
from mss.infer.bag import bag_chunk_fn
from mss.infer.separate import separate
from mss.release.repo import Release, Repo


class ReleasedTeacher:
    """Estimates [B, C, T] -> [B, S, C, T] of a student's sources by a released model.

    A source of the student is the teacher's of that name, or the sum of the teacher's sources that
    are the stems it is the sum of. Each item is taken for a whole recording: it is normalised as
    the teacher's contract says, and cut into its chunks where it is longer than one.

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
        self.digest = _digest(release)
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
        spec, inference = self._release.spec, self._release.inference
        with torch.no_grad():
            whole = inference.segment is None or mix.shape[-1] <= spec.frames(inference.segment)
            if whole:
                waves = self._at_once(mix)
            else:
                waves = torch.stack(
                    [separate(self._chunk_fn, spec, inference, item) for item in mix]
                )
        return einsum(self.rows.to(waves), waves, "s t, b t c n -> b s c n")

    def _at_once(self, mix: Tensor) -> Tensor:
        """Separate items that are no longer than a chunk together."""
        maps = [file_normalisation(item, self._release.inference.normalise) for item in mix]
        chunks = torch.stack([m.apply(item) for m, item in zip(maps, mix, strict=True)])
        waves = self._chunk_fn(chunks)
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


def _digest(release: Release) -> str:
    """Return a hash of the members, their weights and the way they are run."""
    parts = [
        [model_digest(member) for member in release.members],
        release.weights,
        str(release.inference),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
