"""Only some sources of a bag: the same estimates by fewer members."""

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate
from mss.infer.bag import bag_chunk_fn
from mss.infer.selection import select_sources

SPEC = AudioSpec(("drums", "bass", "vocals"), samplerate=8000)
CHUNKS = torch.randn(2, 2, 500, generator=torch.Generator().manual_seed(0))


class Gains(Separator):
    """Each source is the mixture times a gain; counts its calls."""

    def __init__(self, gains: tuple[float, ...], spec: AudioSpec = SPEC) -> None:
        super().__init__(SeparatorConfig(), spec)
        self.gains = torch.nn.Parameter(torch.tensor(gains))
        self.calls: list[int] = []

    def analyse(self, mix: Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.calls.append(len(inputs[0]))
        return (inputs[0][:, None] * self.gains[:, None, None],)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        return Estimate(outputs[0])

    @classmethod
    def tiny(cls, spec: AudioSpec) -> "Gains":
        return cls(tuple(float(index) for index in range(len(spec.sources))), spec)


MEMBERS = [Gains((1.0, 2.0, 3.0)), Gains((4.0, 5.0, 6.0)), Gains((7.0, 8.0, 9.0))]
TABLES = {
    "one member a source": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "shared": [[1, 2, 3], [0, 1, 1], [2, 0, 1]],
    "one without weights": [[1, 1, 1], [0, 0, 0], [1, 0, 3]],
    "none": None,
}


@pytest.mark.parametrize("sources", [("vocals",), ("bass", "drums"), ("vocals", "drums", "bass")])
@pytest.mark.parametrize("table", TABLES)
def test_estimates_are_the_bags(table: str, sources: tuple[str, ...]) -> None:
    weights = TABLES[table]
    whole = bag_chunk_fn(MEMBERS, weights)(CHUNKS)
    rows = [SPEC.sources.index(source) for source in sources]
    members, kept_weights = select_sources(MEMBERS, weights, sources)
    assert all(member.spec.sources == sources for member in members)
    kept = bag_chunk_fn(members, kept_weights)(CHUNKS)
    torch.testing.assert_close(kept, whole[:, rows], rtol=0, atol=1e-6)


def test_members_without_weight_for_the_kept_sources_are_left_out() -> None:
    weights = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 1.0]]
    members, kept = select_sources(MEMBERS, weights, ("drums",))
    assert (len(members), kept) == (1, [[1.0]])
    members, kept = select_sources(MEMBERS, weights, ("vocals", "bass"))
    assert (len(members), kept) == (2, [[0.0, 1.0], [1.0, 0.5]])
    assert len(select_sources(MEMBERS, None, ("drums",))[0]) == 3


def test_members_that_are_left_out_are_not_run() -> None:
    models = [Gains((1.0, 2.0, 3.0)) for _ in range(2)]
    members, weights = select_sources(models, [[1, 1, 0], [0, 0, 1]], ("vocals",))
    bag_chunk_fn(members, weights)(CHUNKS)
    assert [model.calls for model in models] == [[], []]  # copies run, not the models
    assert len(members) == 1
    assert members[0].model.calls == [2]  # type: ignore[union-attr]


def test_one_member_is_reduced_too() -> None:
    members, weights = select_sources(MEMBERS[:1], None, ("bass",))
    assert weights is None
    assert members[0].spec.sources == ("bass",)


@pytest.mark.parametrize(
    ("weights", "sources", "fault"),
    [
        (None, ("vocal",), "Did you mean 'vocals'"),
        (None, (), "at least one source"),
        ([[1, 1, 1]], ("vocals",), "1 rows for 3 members"),
        ([[1, 1], [1, 1], [1, 1]], ("vocals",), "2 weights for the 3 sources"),
        ([[1, 0, 1], [1, 0, 1], [1, 0, 1]], ("vocals",), "no member has a weight for 'bass'"),
    ],
)
def test_faults_are_named(
    weights: list[list[float]] | None, sources: tuple[str, ...], fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        select_sources(MEMBERS, weights, sources)


def test_members_of_different_specs_are_no_bag() -> None:
    other = Gains((1.0, 2.0), AudioSpec(("drums", "bass"), samplerate=8000))
    with pytest.raises(ConfigError, match="only models that agree"):
        select_sources([*MEMBERS, other], None, ("bass",))
