"""RemixIT, the mean teacher and silent stems: what unlabelled recordings teach."""

import pytest
import torch
from toy_run import (
    STEMS,
    estimate,
    references,
    surroundings,
    toy_batch,
    toy_model,
    unlabelled_batch,
)

from mss.core.errors import ConfigError
from mss.core.targets import TargetMap
from mss.core.types import Progress
from mss.distill.silent_stem import SilentStem, SilentStemConfig
from mss.distill.unlabelled import MeanTeacher, MeanTeacherConfig, RemixIt, RemixItConfig

AT = Progress(epoch=4, epochs=10, step=1, steps=5)


def taught(provider_class, config, seed=3):
    """A provider whose teacher has the weights of a model, and that model."""
    model = toy_model(seed)
    provider = provider_class(config, surroundings())
    provider.on_step(model)  # the first update's weights are the average
    return provider, model


def test_remixit_exchanges_the_teachers_estimates_between_recordings():
    provider, model = taught(RemixIt, RemixItConfig(weight=0.5))
    batch = unlabelled_batch(4, 4)
    before = references(batch)
    target = provider(batch, before, AT)
    waves = estimate(model, batch.mix[4:])
    torch.testing.assert_close(target.mix[4:], target.sources[4:].sum(dim=1))
    moved = 0
    for source in range(3):
        # every estimate is there once, in some recording
        pairs = (target.sources[4:, source][:, None] - waves[:, source][None]).abs().amax((2, 3))
        assert torch.equal((pairs < 1e-5).sum(dim=1), torch.ones(4))
        assert torch.equal((pairs < 1e-5).sum(dim=0), torch.ones(4))
        moved += int((pairs.diag() > 1e-5).sum())
    assert moved
    assert target.weight.tolist() == [[1] * 3] * 4 + [[0.5] * 3] * 4
    # the labelled ones are as they were
    assert torch.equal(target.sources[:4], batch.stems[:4])
    assert torch.equal(target.mix[:4], batch.mix[:4])


def test_remixit_exchanges_within_groups_of_the_global_batch(monkeypatch):
    """Two ranks with a share each give what one process gives for the whole batch."""
    whole, _ = taught(RemixIt, RemixItConfig())
    batch = unlabelled_batch(0, 8)
    expected = whole(batch, references(batch), AT).sources
    halves = []
    for rank in range(2):
        monkeypatch.setattr("mss.core.distrib.rank", lambda rank=rank: rank)
        provider, _ = taught(RemixIt, RemixItConfig())
        own = slice(4 * rank, 4 * rank + 4)
        share = type(batch)(
            batch.mix[own], batch.stems[own], STEMS, batch.trust[own], batch.rest[own]
        )
        halves.append(provider(share, references(share), AT).sources)
    torch.testing.assert_close(torch.cat(halves), expected)


def test_the_mean_teacher_asks_for_its_own_estimate_of_what_is_heard_otherwise():
    provider, model = taught(MeanTeacher, MeanTeacherConfig(ramp=0, gain=6.0, weight=0.7))
    batch = unlabelled_batch(0, 16)
    target = provider(batch, references(batch), AT)
    waves = estimate(model, batch.mix)
    seen = set()
    for item in range(16):
        matches = []
        for swapped in (False, True):
            mix = batch.mix[item].flip(0) if swapped else batch.mix[item]
            wave = waves[item].flip(1) if swapped else waves[item]
            gain = (target.mix[item] / mix).mean()
            if torch.allclose(target.mix[item], gain * mix, atol=1e-4):
                torch.testing.assert_close(target.sources[item], gain * wave)
                matches.append((swapped, bool(gain < 0)))
                assert 10 ** (-6 / 20) - 1e-3 < abs(gain) < 10 ** (6 / 20) + 1e-3
        (match,) = matches
        seen.add(match)
    assert len(seen) == 4  # each channel order in each polarity
    assert target.weight.unique().tolist() == [pytest.approx(0.7)]


def test_its_weight_grows_as_laines_and_ailas():
    provider, _ = taught(MeanTeacher, MeanTeacherConfig(warmup=2, ramp=4, weight=2.0))
    batch = unlabelled_batch(0, 1)

    def weight(epoch, step=0):
        at = Progress(epoch, 10, step, 5)
        return provider(batch, references(batch), at).weight[0, 0].item()

    assert weight(1) == 0  # the warm-up
    assert weight(2) == pytest.approx(2 * 2.718281828**-5)
    assert weight(4) == pytest.approx(2 * 2.718281828 ** (-5 * 0.25))
    assert weight(6) == weight(9) == 2


@pytest.mark.parametrize("kind", [(RemixIt, RemixItConfig), (MeanTeacher, MeanTeacherConfig)])
def test_labelled_batches_and_the_warm_up_are_left_alone(kind):
    provider, _ = taught(kind[0], kind[1](warmup=2))
    batch = toy_batch()
    target = references(batch)
    assert provider(batch, target, AT) is target
    batch = unlabelled_batch(2, 2)
    target = references(batch)
    assert provider(batch, target, Progress(1, 10)) is target
    assert target.weight[2:].sum() == 0


@pytest.mark.parametrize("kind", [(RemixIt, RemixItConfig), (MeanTeacher, MeanTeacherConfig)])
def test_a_resumed_run_is_taught_the_same(kind):
    provider, _ = taught(kind[0], kind[1]())
    provider.on_step(toy_model(4))
    resumed = kind[0](kind[1](), surroundings())
    resumed.load_state_dict(provider.state_dict())
    batch = unlabelled_batch(1, 3)
    one, other = (p(batch, references(batch), AT) for p in (provider, resumed))
    assert torch.equal(one.sources, other.sources)
    assert torch.equal(one.mix, other.mix)


def test_a_silent_stem_leaves_the_sum_of_the_others():
    batch = unlabelled_batch(1, 2)
    batch.stems[1, 0], batch.trust[1, 0] = 0.5, 1  # drums over a recording without any
    batch = batch.with_stems(batch.stems)
    target = SilentStem(SilentStemConfig(weight=0.25), surroundings())(batch, references(batch), AT)
    assert target.remainder is not None
    assert target.remainder.members.tolist() == [[False] * 3, [False, True, True], [True] * 3]
    assert target.remainder.weight.tolist() == [0, 0.25, 0.25]
    assert torch.equal(target.remainder.wave, batch.rest)
    torch.testing.assert_close(batch.mix[1], batch.rest[1] + 0.5)
    assert target.weight.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]


def test_a_rank_without_recordings_tells_of_the_remainder_too():
    """Ranks add up the parts of a loss by their names."""
    target = SilentStem(SilentStemConfig(), surroundings())(
        toy_batch(), references(toy_batch()), AT
    )
    assert target.remainder is not None
    assert not target.remainder.weight.any()
    assert not target.remainder.members.any()


def test_a_source_with_the_name_of_the_remainder_is_refused():
    """Both would be one part of the loss: the second one's error by the first one's weight."""
    names = ("drums", "remainder")
    targets = TargetMap.make({"drums": ["drums"], "remainder": ["bass", "vocals"]}, STEMS)
    assert targets.sources == names
    with pytest.raises(ConfigError, match=r"targets\.remainder: .*otherwise"):
        SilentStem(SilentStemConfig(), surroundings(targets=targets))


@pytest.mark.parametrize(
    ("provider", "config"),
    [
        (RemixIt, RemixItConfig),
        (MeanTeacher, MeanTeacherConfig),
        (SilentStem, SilentStemConfig),
    ],
)
def test_sources_that_leave_out_a_stem_are_refused(provider, config):
    run = surroundings(targets=TargetMap.make({"vocals": ["vocals"]}, STEMS))
    with pytest.raises(ConfigError, match=r"distill\.name: .*targets=all"):
        provider(config(), run)
