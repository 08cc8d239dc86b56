"""Log-WMSE: the axes of the package, known scores, and what happens without it."""

import pickle
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.metrics.base import Metric, make_metrics

BEST = -4 * torch.tensor(1e-8).log().item()
MakeSong = Callable[..., Tensor]


@pytest.fixture
def metric(torchaudio_stub: None) -> Metric:
    return make_metrics({"log_wmse": None})[0]


def test_is_the_packages_score_of_each_source(metric: Metric, make_song: MakeSong) -> None:
    from torch_log_wmse import LogWMSE

    reference, mixture = make_song(sources=3), make_song(sources=1, seed=1)[0]
    estimate = 0.9 * reference + 0.1 * reference.flip(0)
    scores = metric.score_with_mixture(reference, estimate, mixture, 44100)["log_wmse"]
    assert scores.dtype == torch.float64
    for index in range(3):
        expected = LogWMSE()(
            mixture[None], estimate[index][None, :, None], reference[index][None, :, None]
        )
        assert scores[index].item() == pytest.approx(expected.item(), rel=1e-5)


def test_known_scores(metric: Metric, make_song: MakeSong) -> None:
    reference = make_song(sources=2)
    reference[1] = 0
    mixture = reference.sum(dim=0)

    def scores(estimate: Tensor, gain: float = 1) -> Tensor:
        pair = gain * reference, gain * estimate
        return metric.score_with_mixture(*pair, gain * mixture, 44100)["log_wmse"]

    # perfect silence is the best of all; the mixture instead of silence is no better than 0
    assert scores(reference).tolist() == pytest.approx([BEST, BEST], rel=1e-5)
    assert scores(mixture.expand(2, -1, -1))[1].item() == pytest.approx(0, abs=1e-4)
    # an error of a tenth of the mixture: -4 ln 0.01
    tenth = reference + 0.1 * mixture
    assert scores(tenth).tolist() == pytest.approx([18.4207, 18.4207], rel=1e-4)
    torch.testing.assert_close(scores(tenth, gain=0.01), scores(tenth), rtol=1e-4, atol=0)
    assert (scores(reference + 0.2 * mixture) < scores(tenth)).all()


def test_mono_and_one_sample(metric: Metric) -> None:
    reference = torch.full((2, 1, 1), 0.5)
    mixture = reference.sum(dim=0)
    scores = metric.score_with_mixture(reference, 0.5 * reference, mixture, 44100)["log_wmse"]
    assert scores.shape == (2,)
    assert scores.isfinite().all()


def test_it_asks_for_the_mixture(metric: Metric, make_song: MakeSong) -> None:
    assert metric.needs_mixture
    song = make_song()
    with pytest.raises(AssertionError, match="mixture"):
        metric.score(song, song, 44100)
    with pytest.raises(AssertionError, match="mixture"):
        metric.score_with_mixture(song, song, song, 44100)


def test_it_travels_to_another_process(metric: Metric, make_song: MakeSong) -> None:
    song = make_song()
    mixture = song.sum(dim=0)
    before = metric.score_with_mixture(song, 0.5 * song, mixture, 44100)["log_wmse"]
    copied = pickle.loads(pickle.dumps(metric))
    after = copied.score_with_mixture(song, 0.5 * song, mixture, 44100)["log_wmse"]
    assert after.tolist() == before.tolist()


@pytest.mark.parametrize("missing", ["torch_log_wmse", "torchaudio"])
def test_without_the_package_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch_log_wmse", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        ConfigError, match=r'test\.metrics\.log_wmse: .*pip install "stemgrid\[log-wmse\]"'
    ):
        make_metrics({"log_wmse": {}})
