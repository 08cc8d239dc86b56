"""Only some sources of a release, without running what only the others need."""

from __future__ import annotations

from collections.abc import Sequence

from mss.core.separator import Separator, source_rows
from mss.infer.bag import common_spec, normalised_weights


def select_sources(
    members: Sequence[Separator],
    weights: Sequence[Sequence[float]] | None,
    sources: Sequence[str],
) -> tuple[list[Separator], list[list[float]] | None]:
    """Reduce a release to some of its sources.

    A member that has no weight for any of them is left out: of a bag with one fine-tuned member a
    source, one source runs one member. The others give only these sources
    (Separator.keep_sources), and the estimates stay the same.

    Args:
        members: a release's models, of one spec.
        weights: one row a member, one weight a source; None: all equal.
        sources: the names to keep, in the order in which they are to come out.

    Returns:
        What bag_chunk_fn takes: the models, in evaluation mode and with the members' own weights
        shared, and the rows of the bag's weights that are left.

    Raises:
        ConfigError: an unknown source, none, or one twice; members or weights that make no bag.
    """
    rows = source_rows(common_spec([member.spec for member in members]), sources)
    if weights is None:
        return [member.keep_sources(sources) for member in members], None
    normalised_weights(weights, len(members), members[0].spec.sources)  # refuses what is no table
    kept: list[Separator] = []
    table: list[list[float]] = []
    for member, row in zip(members, weights, strict=True):
        chosen = [float(row[index]) for index in rows]
        if any(chosen):
            kept.append(member.keep_sources(sources))
            table.append(chosen)
    return kept, table
