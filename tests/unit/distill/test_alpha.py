"""The share of a progressive teacher."""

import pytest

from mss.core.errors import ConfigError
from mss.distill.alpha import AlphaRamp


def test_it_is_the_papers_but_for_the_first_epoch():
    epochs = 300
    ramp = AlphaRamp(alpha=0.8)
    assert ramp.at(0, epochs) == 0
    assert [ramp.at(t, epochs) for t in range(1, epochs)] == pytest.approx(
        [0.8 * (t + 1) / epochs for t in range(1, epochs)]
    )
    assert ramp.at(epochs - 1, epochs) == pytest.approx(0.8)


def test_the_warm_up_has_no_teacher_and_the_epochs_behind_it_are_the_same():
    late, early = AlphaRamp(0.5, warmup=4), AlphaRamp(0.5)
    assert [late.at(t, 10) for t in range(4)] == [0] * 4
    assert [late.at(t, 10) for t in range(4, 10)] == [early.at(t, 10) for t in range(4, 10)]


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        (AlphaRamp(alpha=1.0), r"distill\.alpha: 1\.0 is not in \[0, 1\)"),
        (AlphaRamp(alpha=-0.1), r"distill\.alpha"),
        (AlphaRamp(warmup=0), r"distill\.warmup: 0; the first epoch has no teacher"),
    ],
)
def test_values_that_make_no_sense_are_named(ramp, message):
    with pytest.raises(ConfigError, match=message):
        ramp.check("distill")
