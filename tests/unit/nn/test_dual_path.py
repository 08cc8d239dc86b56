import pytest
import torch

from mss.nn.dual_path import DualPathBLSTM, frames_from_spectrum, spectrum_over_frames


@pytest.mark.parametrize("frames", [1, 2, 9, 10])
def test_spectrum_over_frames_inverts(frames: int) -> None:
    x = torch.randn(2, 3, 4, frames, generator=torch.Generator().manual_seed(0))
    spec = spectrum_over_frames(x)
    assert spec.shape == (2, 6, 4, frames // 2 + 1)
    torch.testing.assert_close(frames_from_spectrum(spec, frames), x)


def test_a_wave_over_frames_is_one_real_or_imaginary_value() -> None:
    phase = 2 * torch.pi * 3 * torch.arange(16) / 16
    x = torch.stack([phase.cos(), phase.sin()])[None, :, None]  # two channels, one bin
    spec = spectrum_over_frames(x)[0, :, 0]
    expected = torch.zeros(4, 9)
    expected[0, 3] = 2.0  # 16 / 2 / sqrt(16): real part of the first channel
    expected[3, 3] = -2.0  # imaginary part of the second
    torch.testing.assert_close(spec, expected, atol=1e-6, rtol=0)


def test_spectra_leave_autocast() -> None:
    x = torch.randn(1, 2, 3, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spec = spectrum_over_frames(x)
        back = frames_from_spectrum(spec.bfloat16(), 8)
    assert spec.dtype == back.dtype == torch.float32
    torch.testing.assert_close(spec, spectrum_over_frames(x.float()))


def test_each_path_looks_along_its_own_axis() -> None:
    torch.manual_seed(0)
    block = DualPathBLSTM(4, hidden=6).eval()
    for norm in range(2):
        block.norm_layers[norm] = torch.nn.Identity()  # group norms look everywhere
    x = torch.randn(2, 4, 5, 7)
    changed = x.clone()
    changed[1, :, 2, 3] += 1

    torch.nn.init.zeros_(block.linear_layers[1].weight)  # nothing comes from the frames' path
    differs = (block(changed) != block(x)).any(dim=1)
    expected = torch.zeros(2, 5, 7, dtype=torch.bool)
    expected[1, :, 3] = True
    assert torch.equal(differs, expected)

    torch.nn.init.normal_(block.linear_layers[1].weight)
    torch.nn.init.zeros_(block.linear_layers[0].weight)
    differs = (block(changed) != block(x)).any(dim=1)
    expected = torch.zeros(2, 5, 7, dtype=torch.bool)
    expected[1, 2] = True
    assert torch.equal(differs, expected)
