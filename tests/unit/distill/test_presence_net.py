"""What the presence net hears and what its numbers mean."""

import math

import pytest
import torch

from mss.core.errors import ConfigError
from mss.distill.presence_net import PresenceConfig, PresenceNet, is_sounding, levels_db

CONFIG = PresenceConfig(("drums", "vocals"), samplerate=8000, segment=0.5, bands=16, width=4)


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PresenceNet(CONFIG).eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 2])
def test_it_tells_a_level_between_the_floor_and_the_mixtures_own(net, channels):
    levels = net(noise(3, channels, CONFIG.segment_frames))
    assert levels.shape == (3, 2)
    assert (levels <= 0).all() and (levels >= CONFIG.floor_db).all()


@pytest.mark.parametrize("gain", [1e-3, 30.0])
def test_a_recordings_gain_changes_nothing(net, gain):
    mix = noise(2, 2, CONFIG.segment_frames)
    torch.testing.assert_close(net.features(gain * mix), net.features(mix), atol=1e-4, rtol=0)


def test_the_features_are_decibels_of_mel_power_relative_to_their_mean(net):
    mix = noise(1, 2, CONFIG.segment_frames)
    spectrum = torch.stft(
        mix[0], 512, 256, window=torch.hann_window(512), pad_mode="constant", return_complex=True
    )
    mel = torch.einsum("mf,cfn->mn", net.filters, spectrum.abs() ** 2) / 2
    decibels = 10 * torch.log10(mel / mel.mean() + 1e-8)
    torch.testing.assert_close(net.features(mix)[0], (decibels + 40) / 20, atol=1e-4, rtol=0)


def test_a_silent_mixture_gives_finite_levels(net):
    assert net(torch.zeros(1, 2, CONFIG.segment_frames)).isfinite().all()


def test_a_short_sound_is_heard_however_long_the_silence_around_it():
    """The maximum over time sees what the mean over time all but loses."""
    config = PresenceConfig(("drums",), samplerate=8000, segment=4.0, bands=16, width=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = PresenceNet(config).eval()
    maps = torch.zeros(1, 16, 4, 100)
    maps[..., 50] = 1
    net.convolutions = torch.nn.Identity()
    net.output = torch.nn.Linear(2 * 16 * 4, 1, bias=False)
    with torch.no_grad():
        net.output.weight.fill_(1 / 64)
        features = torch.zeros(1, 4, 100)
        net.convolutions.forward = lambda _: maps
        assert net.logits(features).item() == pytest.approx(1 + 1 / 100)


def test_the_loss_is_least_at_the_expected_level(net):
    """Of a stem that is half of the time at the floor and half at 0 dB: half of the floor."""
    features = net.features(noise(1, 1, CONFIG.segment_frames)).repeat(2, 1, 1)
    levels = torch.tensor([[0.0, -60.0], [-60.0, -60.0]])

    def loss(first):
        net.logits = lambda features: torch.tensor([[first, 9.0]]).repeat(len(features), 1)
        return net.loss(features, levels).item()

    assert loss(0.0) == pytest.approx((math.log(2) + math.log1p(math.exp(-9))) / 2)
    assert loss(0.0) < min(loss(-0.1), loss(0.1))


def test_levels_are_ratios_of_energies_within_their_limits():
    stems = torch.tensor([0.5, 1e-3, 1e-9, 0.0, 2.0], dtype=torch.float64)
    levels = levels_db(stems, torch.tensor(1.0, dtype=torch.float64), -60.0)
    assert levels.tolist() == pytest.approx([-3.0103, -30, -60, -60, 0], abs=1e-4)
    assert levels_db(stems[3:4], stems[3], -60.0).tolist() == [-60]


def test_sound_begins_80_decibels_below_full_scale():
    mixes = torch.stack([torch.full((2, 100), level) for level in (0.0, 0.9e-4, 1.1e-4)])
    assert is_sounding(mixes).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("samplerate", "n_fft"), [(8000, 512), (16000, 1024), (44100, 2048), (48000, 2048)]
)
def test_windows_last_about_as_long_at_every_sample_rate(samplerate, n_fft):
    assert PresenceConfig(("a",), samplerate=samplerate).n_fft == n_fft


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stems": ()}, "stems: a presence net needs at least one"),
        ({"stems": ("a",), "segment": 0.01}, "segment: 0.01 s is shorter than one window"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        PresenceConfig(**values)
