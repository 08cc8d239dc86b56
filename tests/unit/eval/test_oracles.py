"""Oracles against a slow second form, on degenerate songs, and in their order."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from einops import einsum
from torch import Tensor

from mss.core.errors import ConfigError
from mss.eval import oracles
from mss.eval.estimators import Song
from mss.eval.oracles import KINDS, WINDOW, ideal_ratio_mask, make_oracle, make_oracles
from mss.metrics.energy import NSDR

EPS = 1e-300


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def song(references: Tensor, mixture: Tensor | None = None) -> Song:
    """A song of given sources [S, C, T]; oracles never look at its track."""
    return Song(
        track=None,  # type: ignore[arg-type]
        mixture=references.sum(dim=0) if mixture is None else mixture,
        references=references,
    )


def spectral(name: str, window: int) -> str:
    return name if name == "mixture" else f"{name}@{window}"


# -- the second form: frame by frame, bin by bin ----------------------------------------------


def hann(window: int) -> np.ndarray:
    return np.sin(np.pi * np.arange(window) / window) ** 2


def transform(wave: np.ndarray, window: int) -> np.ndarray:
    """[..., T] -> [..., F, N]; the first frame is centred on the first sample."""
    hop = window // 2
    count = math.ceil(wave.shape[-1] / hop) + 1
    room = np.zeros((*wave.shape[:-1], (count + 1) * hop))
    room[..., hop : hop + wave.shape[-1]] = wave
    frames = [
        np.fft.rfft(hann(window) * room[..., n * hop : n * hop + window]) for n in range(count)
    ]
    return np.stack(frames, axis=-1)


def invert(spectrum: np.ndarray, window: int, length: int) -> np.ndarray:
    """[..., F, N] -> [..., T], by least squares."""
    hop, count = window // 2, spectrum.shape[-1]
    wave = np.zeros((*spectrum.shape[:-2], (count + 1) * hop))
    weight = np.zeros((count + 1) * hop)
    for n in range(count):
        place = slice(n * hop, n * hop + window)
        wave[..., place] += hann(window) * np.fft.irfft(spectrum[..., n], window)
        weight[place] += hann(window) ** 2
    return (wave / np.maximum(weight, 1e-12))[..., hop : hop + length]


def binary(s: np.ndarray, x: np.ndarray, exponent: int) -> np.ndarray:
    return np.where(np.abs(s) ** exponent / (np.abs(x) ** exponent + EPS) >= 0.5, x, 0)


def ratio(s: np.ndarray, x: np.ndarray, exponent: int) -> np.ndarray:
    return np.abs(s) ** exponent / (EPS + sum(np.abs(source) ** exponent for source in s)) * x


def bounded(s: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.minimum(np.abs(s), np.abs(x)) * np.exp(1j * np.angle(s))


def wiener(s: np.ndarray, x: np.ndarray) -> np.ndarray:
    sources, _, bins, frames = s.shape
    estimates = np.zeros_like(s)
    for f in range(bins):
        v = (np.abs(s[:, :, f]) ** 2).mean(axis=1)  # [S, N]
        r = [
            sum(np.outer(s[j, :, f, n], s[j, :, f, n].conj()) for n in range(frames)) / v[j].sum()
            for j in range(sources)
        ]
        for n in range(frames):
            whole = sum(v[j, n] * r[j] for j in range(sources))
            for j in range(sources):
                estimates[j, :, f, n] = v[j, n] * r[j] @ np.linalg.solve(whole, x[:, f, n])
    return estimates


SECOND_FORMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ibm1": lambda s, x: binary(s, x, 1),
    "ibm2": lambda s, x: binary(s, x, 2),
    "irm1": lambda s, x: ratio(s, x, 1),
    "irm2": lambda s, x: ratio(s, x, 2),
    "cirm-bounded": bounded,
    "cirm": lambda s, x: s,
    "mwf": wiener,
}


@pytest.mark.parametrize("kind", SECOND_FORMS)
@pytest.mark.parametrize(("channels", "length"), [(2, 1000), (1, 517), (2, 512)])
def test_equals_the_second_form(kind: str, channels: int, length: int) -> None:
    references = noise(3, channels, length) * torch.tensor([1.0, 0.5, 0.25])[:, None, None]
    references[1] += 0.3 * references[0].roll(1, dims=-1)
    # a recorded mixture is more than the sum
    mixture = references.sum(dim=0) + 0.1 * noise(channels, length, seed=1)
    estimates = make_oracle(f"{kind}@64")(song(references, mixture))
    filtered = SECOND_FORMS[kind](transform(references.numpy(), 64), transform(mixture.numpy(), 64))
    expected = invert(filtered, 64, length)
    # the transform's window is one of single precision
    np.testing.assert_allclose(estimates.numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1024, 1500, 1537])
def test_blocks_change_nothing(kind: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    of_noise = song(noise(3, 2, length), noise(2, length, seed=1))
    oracle = make_oracle(spectral(kind, 128))
    whole = oracle(of_noise)
    monkeypatch.setattr(oracles, "_BLOCK", 500)  # 512 on the grid of frames
    torch.testing.assert_close(oracle(of_noise), whole, rtol=0, atol=1e-9)


# -- what masks are ----------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [1, 2])
def test_ratio_masks_sum_to_one(exponent: int) -> None:
    sources = torch.complex(noise(4, 2, 5, 6), noise(4, 2, 5, 6, seed=1))
    sources[2] = 0
    sources[:, 0, 3, 4] = 0
    total = ideal_ratio_mask(sources, sources.sum(dim=0), exponent).sum(dim=0)
    expected = torch.ones_like(total)
    expected[0, 3, 4] = 0  # where there is nothing to share
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("kind", ["irm1", "irm2", "mwf"])
def test_estimates_sum_to_the_mixture(kind: str) -> None:
    references = noise(3, 2, 1000)
    mixture = references.sum(dim=0)
    estimates = make_oracle(f"{kind}@128")(song(references))
    torch.testing.assert_close(estimates.sum(dim=0), mixture, rtol=0, atol=1e-6)


def test_cirm_restores_the_sources() -> None:
    references = noise(3, 2, 5000).float()
    scores = NSDR()(references, make_oracle("cirm")(song(references)), 44100)
    assert (scores > 90).all()  # the bound is the eps of the score, and single precision


def test_mwf_of_mono_sources_is_the_power_ratio() -> None:
    # every covariance has rank one, and all of them are the same
    mono = noise(3, 1, 2000).float()
    of_mono = song(mono.expand(3, 2, 2000))
    estimates = make_oracle("mwf@256")(of_mono)
    torch.testing.assert_close(estimates, make_oracle("irm2@256")(of_mono), rtol=0, atol=1e-4)


def test_mwf_separates_by_place_what_masks_can_not() -> None:
    # equal powers everywhere: one source on the left, one on the right
    references = torch.zeros(2, 2, 8000)
    references[0, 0] = noise(8000).float()
    references[1, 1] = noise(8000, seed=1).float()
    references[0, 1], references[1, 0] = 0.5 * references[0, 0], 0.5 * references[1, 1]
    of_places = song(references)
    masked, filtered = (
        NSDR()(references, make_oracle(name)(of_places), 8000) for name in ("irm2@256", "mwf@256")
    )
    assert (masked < 10).all()
    assert (filtered > 60).all()


def band(rate: int = 8000) -> Tensor:
    """Three stereo sources of two seconds: a melody of partials, beats of noise, a held chord."""
    time = torch.arange(2 * rate) / rate
    melody = 220 * 2 ** (torch.floor(4 * time) / 12)
    phase = 2 * math.pi * torch.cumsum(melody, dim=0) / rate
    lead = sum(torch.sin(k * phase) / k for k in range(1, 9))
    beats = noise(2 * rate).float() * torch.exp(-12 * (time % 0.25))
    chord = sum(torch.sin(2 * math.pi * f * time) for f in (262.0, 330.0, 392.0, 523.0))
    dry = torch.stack([torch.as_tensor(lead), beats, torch.as_tensor(chord)])
    places = torch.tensor([[1.0, 0.8], [0.7, 0.7], [0.5, 1.0]])
    return 0.1 * einsum(dry, places, "s t, s c -> s c t")


def test_order_on_music() -> None:
    references = band()
    of_band = song(references)
    score = {
        kind: NSDR()(references, make_oracle(spectral(kind, 1024))(of_band), 8000).mean().item()
        for kind in KINDS
    }
    order = ["mixture", "ibm1", "irm1", "irm2", "cirm-bounded", "cirm"]
    scores = [score[kind] for kind in order]
    assert scores == sorted(scores), score
    assert score["irm2"] < score["mwf"] < score["cirm"]  # no two sources share a place
    assert score["irm1"] - score["mixture"] > 5


# -- degenerate songs --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 10, 100, 700])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_length_and_channels(kind: str, length: int, channels: int) -> None:
    references = noise(2, channels, length).float()
    estimates = make_oracle(spectral(kind, 128))(song(references))
    assert estimates.shape == references.shape
    assert estimates.dtype == torch.float32
    assert estimates.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_source_stays_silent(kind: str) -> None:
    references = noise(3, 2, 1000).float()
    references[1] = 0
    references[:, :, 300:600] = 0
    estimates = make_oracle(spectral(kind, 128))(song(references))
    assert estimates.isfinite().all()
    if kind == "mixture":
        torch.testing.assert_close(estimates[1], references.sum(dim=0) / 3)
    else:
        assert torch.equal(estimates[1], references[1])
    assert not estimates[0, :, 400:500].any()


@pytest.mark.parametrize("kind", KINDS)
def test_silence(kind: str) -> None:
    references = torch.zeros(2, 2, 500)
    estimates = make_oracle(spectral(kind, 128))(song(references))
    assert torch.equal(estimates, references)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_at_the_edge_of_single_precision(kind: str) -> None:
    references = noise(2, 2, 500).float()
    loud, faint = song(references, torch.full((2, 500), 1e-44)), song(1e-42 * references)
    silent = song(references, torch.zeros(2, 500))  # sources that cancel
    nothing_known = song(torch.zeros(2, 2, 500), references.sum(dim=0))
    for degenerate in (loud, faint, silent, nothing_known):
        assert make_oracle(spectral(kind, 128))(degenerate).isfinite().all()


# -- sources that are not all of the mixture ---------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_of_the_mixture_is_one_more_source(kind: str) -> None:
    references = noise(3, 2, 1000)
    alone = song(references[:1], references.sum(dim=0))
    both = song(torch.stack([references[0], references[1:].sum(dim=0)]))
    estimates = make_oracle(spectral(kind, 128), rest=True)(alone)
    expected = make_oracle(spectral(kind, 128))(both)[:1]
    torch.testing.assert_close(estimates, expected, rtol=0, atol=1e-9)
    if kind == "irm2":
        # without it, everything would belong to the one source
        everything = make_oracle("irm2@128")(alone)
        torch.testing.assert_close(everything[0], alone.mixture, rtol=0, atol=1e-6)


# -- names -------------------------------------------------------------------------------------


def test_names_and_labels() -> None:
    made = {name: make_oracle(name) for name in ("irm2", "irm2@4096", "mwf", "cirm", "mixture")}
    assert made["irm2"].name == f"irm2@{WINDOW}" == "irm2@2048"
    assert made["irm2@4096"].system == "oracle-irm2-4096"
    assert made["mixture"].system == "oracle-mixture"
    assert [oracle.label for oracle in made.values()] == [
        "magnitude-mask oracle",
        "magnitude-mask oracle",
        "multichannel oracle",
        "complex-mask oracle",
        "no separation",
    ]
    assert made["irm2"] != made["irm2@4096"]
    twice = make_oracles(["irm2", "mixture", "irm2@2048"])
    assert [oracle.name for oracle in twice] == ["irm2@2048", "mixture"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imr2", "there is no oracle named 'imr2'. Did you mean 'irm"),
        ("irm3", "there is no oracle named 'irm3'"),
        ("irm2@", "an even number of samples"),
        ("irm2@4k", "an even number of samples"),
        ("irm2@2047", "an even number of samples"),
        ("irm2@0", "an even number of samples"),
        ("mixture@2048", "the mixture has no window"),
    ],
)
def test_wrong_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match="oracle: ") as error:
        make_oracle(name)
    assert message in str(error.value)
