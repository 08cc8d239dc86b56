"""Bags: several released models whose outputs are averaged, written as a small yaml file.

::

    members: [hdemucs-1a2b3c4d-0123abcd, hdemucs-5e6f7a8b-4567cdef]   # full names, of this repo
    weights:                  # optional; one number a member, in the members' order
      vocals: [3, 1]          # a source that is not named takes all members equally
    segment: 7.8              # optional; seconds of one chunk
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import yaml

from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.files import write_text_atomic
from mss.core.registry import dump_config, make_config
from mss.core.types import AudioSpec, InferenceDefaults, Seconds
from mss.release.header import Header

BAG_SUFFIX = ".yaml"


@dataclass(frozen=True)
class BagRecipe:
    """Content of a bag's yaml file.

    Attributes:
        members: full names of models in the same repo.
        weights: by source, one number >= 0 a member.
        segment: seconds of one chunk (default: the shortest of the members').
    """

    members: tuple[str, ...]
    weights: dict[str, tuple[float, ...]] = field(default_factory=dict)
    segment: Seconds | None = None

    def __post_init__(self) -> None:
        if not self.members:
            raise ConfigError("members: a bag needs at least one model")
        if len(set(self.members)) != len(self.members):
            raise ConfigError("members: a name stands twice; raise its weights instead")
        if self.segment is not None and self.segment <= 0:
            raise ConfigError(f"segment: {self.segment} s is not positive")
        for source, row in self.weights.items():
            if len(row) != len(self.members):
                raise ConfigError(
                    f"weights.{source}: {len(row)} numbers for {len(self.members)} members; "
                    "give one a member, in their order"
                )
            if not all(math.isfinite(value) and value >= 0 for value in row) or sum(row) <= 0:
                raise ConfigError(
                    f"weights.{source}: {list(row)}: give numbers >= 0 that are not all 0"
                )


def read_bag(path: Path) -> BagRecipe:
    """Read and check a bag's yaml file.

    Raises:
        DataError: not yaml, an unknown key, or a value that is wrong.
    """
    try:
        # safe_load builds plain values only: a `!!python/...` tag is an error.
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: can't be read as a bag: {error}") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path}: a bag is a mapping with the key 'members'")
    try:
        recipe: BagRecipe = make_config(BagRecipe, plain, "bag")
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error
    return recipe


def write_bag(path: Path, recipe: BagRecipe) -> None:
    """Write a bag's yaml file atomically; `read_bag` gives the recipe back."""
    plain = {key: value for key, value in dump_config(recipe).items() if value}
    write_text_atomic(path, yaml.safe_dump(plain, sort_keys=False, default_flow_style=None))


def member_weights(
    recipe: BagRecipe, sources: Sequence[str], path: Path
) -> tuple[tuple[float, ...], ...] | None:
    """Return each member's share of each source: [members][sources], summing to 1 over members.

    None where the bag states no weights (all members count equally).
    """
    for source in recipe.weights:
        if source not in sources:
            hint = nearest_name_hint(source, sources)
            raise DataError(f"{path}: weights.{source}: its models have no such source.{hint}")
    if not recipe.weights:
        return None
    equal = (1.0,) * len(recipe.members)
    rows = [recipe.weights.get(source, equal) for source in sources]
    return tuple(
        tuple(row[member] / sum(row) for row in rows) for member in range(len(recipe.members))
    )


def common_contract(
    headers: Mapping[str, Header], segment: Seconds | None, path: Path
) -> tuple[AudioSpec, InferenceDefaults]:
    """Return the one spec and the one way of running that all members of a bag share.

    Their segments may differ: the bag's own is taken, else the shortest, which fits all.

    Raises:
        DataError: the members can't be run side by side.
    """
    (first_name, first), *others = headers.items()
    for name, header in others:
        if header.spec != first.spec:
            raise DataError(
                f"{path}: {name} gives {header.spec}, but {first_name} gives {first.spec}; the "
                "members of a bag need the same sources in the same order, rate and channels"
            )
        for key in (entry.name for entry in fields(InferenceDefaults)):
            mine, its = getattr(first.inference, key), getattr(header.inference, key)
            if key != "segment" and mine != its:
                raise DataError(
                    f"{path}: {name} is run with {key} {its!r}, but {first_name} with {mine!r}; "
                    "the members of a bag go through one pipeline"
                )
    if segment is None:
        stated = [header.inference.segment for header in headers.values()]
        segment = min((value for value in stated if value is not None), default=None)
    return first.spec, replace(first.inference, segment=segment)
