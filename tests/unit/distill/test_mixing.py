"""Targets between a reference and a teacher's estimates."""

import pytest
import torch

from mss.distill.mixing import TargetMixer, onto_mix


def waves(seed: int, *shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_alpha_0_gives_the_very_bits_of_the_reference():
    reference, taught = waves(0, 2, 3, 1, 50).float(), waves(1, 2, 3, 1, 50).float()
    assert torch.equal(TargetMixer()(reference, taught, 0.0), reference)


def test_the_squared_error_splits_as_the_identity_says():
    """|f - t|^2 = (1 - a) |f - y|^2 + a |f - p|^2 - a (1 - a) |y - p|^2, and its gradient."""
    y, p = waves(0, 4, 3, 2, 64), waves(1, 4, 3, 2, 64)
    f = waves(2, 4, 3, 2, 64).requires_grad_()
    alpha = 0.3
    mixed = (f - TargetMixer()(y, p, alpha)).square().mean()
    parts = (1 - alpha) * (f - y).square().mean() + alpha * (f - p).square().mean()
    constant = alpha * (1 - alpha) * (y - p).square().mean()
    torch.testing.assert_close(mixed, parts - constant)
    (gradient,) = torch.autograd.grad(mixed, f, retain_graph=True)
    (expected,) = torch.autograd.grad(parts, f)
    torch.testing.assert_close(gradient, expected)


def test_a_teacher_at_the_estimate_only_scales_the_gradient():
    """With p = f: (1 - a) of the plain gradient, which is the control's learning rate."""
    y, f = waves(0, 2, 2, 1, 64), waves(1, 2, 2, 1, 64).requires_grad_()
    alpha = 0.6
    mixed = (f - TargetMixer()(y, f.detach(), alpha)).square().mean()
    plain = (f - y).square().mean()
    (gradient,) = torch.autograd.grad(mixed, f)
    (expected,) = torch.autograd.grad(plain, f)
    torch.testing.assert_close(gradient, (1 - alpha) * expected)


def test_under_l1_only_samples_near_the_reference_are_told_otherwise():
    """sign(f - t) is sign(f - y) unless |f - y| < a |p - y| on the same side."""
    y, p, f = waves(0, 4096), waves(1, 4096), waves(2, 4096)
    alpha = 0.4
    differs = torch.sign(f - TargetMixer()(y, p, alpha)) != torch.sign(f - y)
    near = ((f - y).abs() < alpha * (p - y).abs()) & (torch.sign(f - y) == torch.sign(p - y))
    assert torch.equal(differs, near)
    assert 0 < differs.float().mean() < 1


def test_mixing_complex_spectra_is_mixing_waves():
    y, p = waves(0, 1, 2, 1, 4096), waves(1, 1, 2, 1, 4096)
    mixer = TargetMixer("magnitude", n_fft=512, hop=128).double()
    spectrum = 0.7 * mixer.stft(y) + 0.3 * mixer.stft(p)
    torch.testing.assert_close(
        mixer.stft.inverse(spectrum, 4096).double(),
        TargetMixer()(y, p, 0.3),
        rtol=0,
        atol=1e-5,
    )


def test_magnitudes_are_mixed_at_the_references_phase():
    """A teacher that inverts the polarity is right in magnitude: the target is the reference."""
    y = waves(0, 1, 2, 1, 4096).float()
    mixer = TargetMixer("magnitude", n_fft=512, hop=128)
    torch.testing.assert_close(mixer(y, -y, 0.5), y, rtol=0, atol=1e-5)
    assert TargetMixer()(y, -y, 0.5).abs().max() == 0
    torch.testing.assert_close(mixer(y, 3 * y, 0.5), 2 * y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("domain", ["wave", "magnitude"])
def test_a_share_for_each_source_is_as_good_as_a_number(domain):
    y, p = waves(0, 2, 3, 1, 2048).float(), waves(1, 2, 3, 1, 2048).float()
    mixer = TargetMixer(domain, n_fft=256, hop=64)
    share = torch.tensor([0.0, 0.25, 1.0]).view(1, 3, 1, 1).expand(2, 3, 1, 1)
    mixed = mixer(y, p, share)
    for source, alpha in enumerate((0.0, 0.25, 1.0)):
        torch.testing.assert_close(mixed[:, source], mixer(y, p, alpha)[:, source])


def test_the_projection_adds_up_to_the_mix_and_moves_least():
    mix, taught = waves(0, 2, 1, 40), waves(1, 2, 3, 1, 40)
    projected = onto_mix(taught, mix)
    torch.testing.assert_close(projected.sum(dim=1), mix)
    # orthogonal to every direction that keeps the sum
    moved = projected - taught
    torch.testing.assert_close(moved[:, 0], moved[:, 1])
    torch.testing.assert_close(moved[:, 0], moved[:, 2])
