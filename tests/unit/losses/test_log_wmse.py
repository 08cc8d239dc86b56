"""Log-WMSE: the axes and the sign of the package, and what happens without it."""

import sys
from collections.abc import Callable

import pytest
import torch

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.types import Estimate, Target

SOURCES = ("drums", "bass", "vocals")
MakeExample = Callable[..., tuple[Estimate, Target]]


@pytest.mark.usefixtures("torchaudio_stub")
def test_is_the_packages_score_negated(make_example: MakeExample) -> None:
    from torch_log_wmse import LogWMSE

    estimate, target = make_example(items=2)
    got = registry.build("loss", {"name": "log_wmse"}, SOURCES)(estimate, target)
    # the metric itself, on one source at a time
    for row, source in enumerate(SOURCES):
        score = LogWMSE()(
            target.mix, estimate.wave[:, row, :, None], target.sources[:, row, :, None]
        )
        assert got.parts[source].item() == pytest.approx(-score.item(), rel=1e-5)


@pytest.mark.usefixtures("torchaudio_stub")
def test_a_perfect_silence_has_the_best_value(make_example: MakeExample) -> None:
    _, target = make_example(items=2)
    target.sources[:, 1] = 0
    loss = registry.build("loss", {"name": "log_wmse"}, SOURCES)
    report = loss(Estimate(target.sources.clone()), target)
    assert report.parts["bass"].item() == pytest.approx(4 * torch.tensor(1e-8).log().item())


@pytest.mark.parametrize("missing", ["torch_log_wmse", "torchaudio"])
def test_without_the_package_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch_log_wmse", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r'loss\.name: .*pip install "stemgrid\[log-wmse\]"'):
        registry.build("loss", {"name": "log_wmse"}, SOURCES)


@pytest.mark.usefixtures("torchaudio_stub")
def test_a_wrong_rate() -> None:
    with pytest.raises(ConfigError, match=r"loss\.samplerate: 0 is not positive"):
        registry.build("loss", {"name": "log_wmse", "samplerate": 0}, SOURCES)
