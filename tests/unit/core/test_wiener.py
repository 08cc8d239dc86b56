import numpy as np
import pytest
import torch
from torch import Tensor

from mss.core.wiener import wiener, with_phase_of


def scene(
    sources: int = 3, channels: int = 2, bins: int = 5, frames: int = 40, batch: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Spectra of sources, each with its own place between the channels, and their magnitudes."""
    generator = torch.Generator().manual_seed(0)
    dry = torch.randn(batch, sources, 1, bins, frames, dtype=torch.complex128, generator=generator)
    place = torch.randn(1, sources, channels, bins, 1, dtype=torch.complex128, generator=generator)
    spectra = dry * dry.abs() * place  # heavier tails than a Gaussian, as music has
    return spectra, spectra.sum(dim=1), spectra.abs()


def naive_em(y: np.ndarray, x: np.ndarray, iterations: int, eps: float = 1e-10) -> np.ndarray:
    """The formulas of the module's docstring, bin by bin: y [S, C, F, N], x [C, F, N]."""
    scale = max(1.0, np.abs(x).max() / 10)
    x, y = x / scale, y / scale
    sources, channels, bins, frames = y.shape
    for _ in range(iterations):
        out = np.zeros_like(y)
        for f in range(bins):
            v = (np.abs(y[:, :, f]) ** 2).mean(axis=1)
            r = [
                sum(np.outer(y[j, :, f, n], y[j, :, f, n].conj()) for n in range(frames))
                / (eps + v[j].sum())
                for j in range(sources)
            ]
            for n in range(frames):
                whole = sum(v[j, n] * r[j] for j in range(sources))
                inverse = np.linalg.inv(whole + np.sqrt(eps) * np.eye(channels))
                for j in range(sources):
                    out[j, :, f, n] = v[j, n] * r[j] @ inverse @ x[:, f, n]
        y = out
    return y * scale


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("iterations", [1, 2])
def test_equals_the_formulas(channels: int, iterations: int) -> None:
    _, mix, magnitudes = scene(channels=channels)
    got = wiener(magnitudes, mix, iterations, window=None)
    start = (magnitudes * torch.exp(1j * mix.angle())[:, None])[0].numpy()
    expected = naive_em(start, mix[0].numpy(), iterations)
    np.testing.assert_allclose(got[0].numpy(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("softmask", [False, True])
def test_estimates_sum_to_the_mixture(iterations: int, softmask: bool) -> None:
    _, mix, magnitudes = scene()
    estimates = wiener(magnitudes, mix, iterations, softmask=softmask)
    # all but the share that the regularisation keeps as noise
    assert (estimates.sum(dim=1) - mix).norm() < 1e-4 * mix.norm()


def test_residual_takes_the_rest() -> None:
    _, mix, magnitudes = scene()
    start = wiener(magnitudes[:, :1], mix, 0, residual=True)
    assert start.shape[1] == 2
    torch.testing.assert_close(start.sum(dim=1), mix)
    torch.testing.assert_close(start[:, 0], wiener(magnitudes[:, :1], mix, 0)[:, 0])
    refined = wiener(magnitudes[:, :1], mix, 1, residual=True)
    assert (refined.sum(dim=1) - mix).norm() < 1e-4 * mix.norm()


def test_places_between_channels_make_it_better_than_the_mixtures_phase() -> None:
    spectra, mix, magnitudes = scene(frames=200)

    def error(estimates: Tensor) -> float:
        return ((estimates - spectra).abs().square().sum() / spectra.abs().square().sum()).item()

    plain = error(wiener(magnitudes, mix, 0))
    assert error(wiener(magnitudes, mix, 1)) < 0.7 * plain


def test_one_channel_is_the_classic_power_ratio() -> None:
    _, mix, magnitudes = scene(channels=1)
    mix, magnitudes = mix / mix.abs().max(), magnitudes / mix.abs().max()
    power = magnitudes.square()
    # one channel's spatial covariance is 1
    expected = power / (power.sum(dim=1, keepdim=True) + 1e-5) * mix[:, None]
    torch.testing.assert_close(wiener(magnitudes, mix, 1), expected, rtol=1e-6, atol=1e-9)


def test_windows_and_items_are_filtered_apart() -> None:
    _, mix, magnitudes = scene(frames=50, batch=2)
    got = wiener(magnitudes, mix, 1, window=20)
    for item in range(2):
        for start in (0, 20, 40):
            part = slice(start, start + 20)
            alone = wiener(
                magnitudes[item : item + 1, ..., part], mix[item : item + 1, ..., part], window=None
            )
            torch.testing.assert_close(got[item, ..., part], alone[0])
    whole = wiener(magnitudes, mix, 1, window=None)
    assert not torch.allclose(got, whole, rtol=1e-2)


def test_softmask_starts_from_shares_of_the_mixture() -> None:
    _, mix, magnitudes = scene()
    estimates = wiener(magnitudes, mix, 0, softmask=True)
    torch.testing.assert_close(estimates.sum(dim=1), mix)
    share = magnitudes[:, 0] / magnitudes.sum(dim=1)
    torch.testing.assert_close(estimates[:, 0], share * mix)


def test_phase_of_silence_is_zero() -> None:
    mix = torch.tensor([[0j, -0.0 - 0j, 2j, -3 + 0j, 1e-30 + 0j]])
    got = with_phase_of(torch.full((1, 5), 2.0), mix)
    torch.testing.assert_close(got, torch.tensor([[2, 2, 2j, -2, 2]], dtype=torch.complex64))


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_silence_gives_silence_and_finite_gradients(iterations: int) -> None:
    magnitudes = torch.zeros(1, 2, 2, 4, 6, requires_grad=True)
    estimates = wiener(magnitudes, torch.zeros(1, 2, 4, 6, dtype=torch.complex64), iterations)
    assert torch.equal(estimates.detach(), torch.zeros_like(estimates))
    estimates.abs().square().sum().backward()
    assert magnitudes.grad is not None
    assert magnitudes.grad.isfinite().all()


def test_single_precision_in_agrees_with_double_on_a_nearly_mono_mixture() -> None:
    # both channels nearly equal: determinants cancel to 1e-6 of their terms
    _, mix, _ = scene(channels=1)
    left = mix[:, 0]
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(left.shape, dtype=left.dtype, generator=generator)
    mix = torch.stack([left, left + 1e-3 * noise], dim=1) * 100
    magnitudes = torch.stack([mix.abs() * 0.7, mix.abs() * 0.3], dim=1)
    exact = wiener(magnitudes, mix)
    single = wiener(magnitudes.float(), mix.to(torch.complex64))
    assert single.dtype == torch.complex64
    torch.testing.assert_close(single.to(exact.dtype), exact, rtol=0, atol=1e-3 * 100)


def test_the_phase_of_next_to_nothing_is_finite():
    """Of subnormal spectra the quotient by the magnitude overflows; there is no phase to give."""
    tiny = torch.tensor([5.9e-42 + 0j, 1e-42 - 1e-42j, 0j, 1e-30 + 1e-30j])
    given = with_phase_of(torch.ones(4), tiny)
    assert torch.isfinite(torch.view_as_real(given)).all()
    torch.testing.assert_close(given[3], torch.tensor(2**-0.5 * (1 + 1j)).to(given))
