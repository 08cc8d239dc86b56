from fractions import Fraction

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, InferenceDefaults, WindowKind
from mss.infer.plan import Plan, make_plan, window_weights

SPEC = AudioSpec(("drums", "bass", "other", "vocals"), samplerate=44100, channels=2)


def test_plan_of_a_model() -> None:
    plan = make_plan(SPEC, InferenceDefaults(segment=Fraction("7.8"), overlap=0.25), batch_size=3)
    assert plan == Plan(4, 2, segment=343980, stride=257985, window="triangle", batch_size=3)
    assert plan.latency == 343980 + 2 * 257985


def test_segment_and_overlap_override_the_models_own() -> None:
    inference = InferenceDefaults(segment=Fraction(10), overlap=0.25, window="hann")
    plan = make_plan(SPEC, inference, segment=Fraction(2), overlap=0.5)
    assert (plan.segment, plan.stride, plan.window) == (88200, 44100, "hann")


def test_overlap_zero_is_not_taken_for_no_choice() -> None:
    plan = make_plan(SPEC, InferenceDefaults(segment=Fraction(1), overlap=0.25), overlap=0.0)
    assert plan.stride == plan.segment == 44100


@pytest.mark.parametrize(("overlap", "stride"), [(0.75, 11025), (0.67, 14552), (0.9, 4409)])
def test_stride_is_rounded_down_as_demucs_does(overlap: float, stride: int) -> None:
    """int((1 - overlap) * 44100); 0.33 and 0.1 are a little less in binary."""
    plan = make_plan(SPEC, InferenceDefaults(segment=Fraction(1)), overlap=overlap)
    assert plan.stride == stride
    odd = make_plan(SPEC, InferenceDefaults(segment=Fraction(10, 44100)), overlap=0.33)
    assert odd.stride == 6  # of 6.7


def test_context_and_tail_are_the_models_own() -> None:
    inference = InferenceDefaults(Fraction(1), overlap=0.5, context=Fraction(1, 10), tail="centred")
    plan = make_plan(SPEC, inference, shifts=[3, 0])
    # half of the 0.8 s that a chunk keeps
    assert (plan.context, plan.stride, plan.tail) == (4410, 17640, "centred")
    assert plan.shifts == (3, 0)


def test_whole_recording() -> None:
    plan = make_plan(SPEC, InferenceDefaults(segment=None))
    assert plan.segment is None
    assert plan.latency is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment": Fraction(0)}, "segment"),
        ({"segment": Fraction(-1)}, "segment"),
        ({"segment": Fraction(1, 100000)}, "segment"),
        ({"overlap": 1.0}, "overlap"),
        ({"overlap": -0.1}, "overlap"),
        ({"overlap": float("nan")}, "overlap"),
        ({"segment": Fraction(2, 44100), "overlap": 0.9}, "overlap"),
        ({"batch_size": 0}, "batch_size"),
        ({"shifts": (4, -1)}, "shifts: -1"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(SPEC, InferenceDefaults(segment=Fraction(10)), **change)  # type: ignore[arg-type]


def test_unknown_window() -> None:
    with pytest.raises(ConfigError, match=r"window.*hamming.*triangle"):
        Plan(1, 1, 10, 5, window="hamming")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tail": "long"}, r"tail.*'long'. Known: short, centred"),
        ({"context": 5}, "context: 5 samples at both edges of a chunk of 10"),
        ({"context": -1}, "context"),
        ({"context": 3, "stride": 5}, "keeps 4 samples every 5"),
    ],
)
def test_grids_that_leave_gaps(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Plan(**{"sources": 1, "channels": 1, "segment": 10, "stride": 4, **change})  # type: ignore[arg-type]


def test_a_segment_shorter_than_its_context() -> None:
    inference = InferenceDefaults(Fraction(10), context=Fraction(1))
    with pytest.raises(ConfigError, match="context: 44100 samples at both edges"):
        make_plan(SPEC, inference, segment=Fraction(2))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, [1.0]),
        (2, [1.0, 1.0]),
        (4, [0.5, 1.0, 1.0, 0.5]),
        (5, [1 / 3, 2 / 3, 1.0, 2 / 3, 1 / 3]),
    ],
)
def test_triangle_by_hand(length: int, expected: list[float]) -> None:
    torch.testing.assert_close(window_weights("triangle", length), torch.tensor(expected))


def test_hann_by_formula() -> None:
    # sin^2(pi (n + 1) / (L + 1)), the Hann window without its zeros; L = 3: 1/2, 1, 1/2
    torch.testing.assert_close(window_weights("hann", 3), torch.tensor([0.5, 1.0, 0.5]))


def test_linear_fade_is_that_of_msst() -> None:
    """Ones between linspace(0, 1) and linspace(1, 0), each of a tenth."""
    weights = window_weights("linear_fade", 50)
    torch.testing.assert_close(weights[:5], torch.linspace(0, 1, 5))
    torch.testing.assert_close(weights[-5:], torch.linspace(1, 0, 5))
    assert torch.equal(weights[5:-5], torch.ones(40))


@pytest.mark.parametrize("kind", ["triangle", "hann", "flat", "linear_fade"])
@pytest.mark.parametrize("length", [1, 2, 3, 999, 441000])
def test_weights_are_positive_symmetric_and_at_most_one(kind: WindowKind, length: int) -> None:
    weights = window_weights(kind, length)
    assert weights.shape == (length,)
    assert weights.min() > 0
    assert weights.max() == 1
    torch.testing.assert_close(weights, weights.flip(0), atol=1e-6, rtol=0)
