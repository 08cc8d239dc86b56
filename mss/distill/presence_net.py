"""A small net that tells how loud each stem is in some seconds of a mixture.

Its answer is a level and not a yes or no, so that it learns from every stem of every excerpt, also
from the many that are neither loud nor silent, and what counts as silent is a matter of thresholds
(mss.distill.presence_thresholds) that need no other training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from einops import einsum, rearrange, reduce
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mss.core.errors import ConfigError
from mss.core.mel import mel_filters
from mss.core.stft import Stft
from mss.metrics.song_stft import power

_WINDOW_SECONDS = 0.046
"""2048 samples at 44.1 kHz."""

_RANGE = 1e-8
"""Power of the softest part of a spectrogram that is seen, relative to the mean: -80 dB."""

_STAGES = (1, 2, 4, 4)
"""Channels of the convolutions, in widths; each halves bands and frames."""

_SOUND = 1e-8
"""Mean square (full scale 1) above which a mixture sounds: -80 dB."""


@dataclass(frozen=True)
class PresenceConfig:
    """What a net hears and tells.

    Attributes:
        stems: whose levels it tells.
        samplerate: Hz.
        channels: of the mixture.
        segment: seconds that it hears at a time.
        floor_db: levels below this one are not told apart; relative to the mixture's.
        bands: of the mel spectrogram.
        width: channels of the first convolution.
    """

    stems: tuple[str, ...]
    samplerate: int = 44100
    channels: int = 2
    segment: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    floor_db: Annotated[float, Field(lt=0, allow_inf_nan=False)] = -60.0
    bands: Annotated[int, Field(ge=8)] = 64
    width: Annotated[int, Field(ge=1)] = 16

    def __post_init__(self) -> None:
        if not self.stems:
            raise ConfigError("stems: a presence net needs at least one")
        if self.segment_frames < self.n_fft:
            raise ConfigError(
                f"segment: {self.segment:g} s is shorter than one window of the spectrogram"
                f" ({self.n_fft} samples); give more seconds"
            )

    @property
    def segment_frames(self) -> int:
        """Samples of a segment."""
        return round(self.segment * self.samplerate)

    @property
    def n_fft(self) -> int:
        """Samples of a window of the spectrogram, a power of two."""
        return int(2 ** round(math.log2(self.samplerate * _WINDOW_SECONDS)))


class PresenceNet(nn.Module):
    """Log-mel spectrogram, convolutions, mean and maximum over time, a level for each stem.

    The spectrogram is relative to its own mean, so that a recording's gain changes nothing. Beside
    the mean over time stands the maximum: one word of a singer is a small part of 5 s, and enough
    for the stem not to be silent.
    """

    def __init__(self, config: PresenceConfig) -> None:
        super().__init__()
        self.config = config
        self.stft = Stft(config.n_fft, config.n_fft // 2, pad_mode="constant")
        filters = mel_filters(config.samplerate, config.n_fft, config.bands)
        filters = filters[filters.any(dim=1)]  # at low sample rates the lowest hold no bin
        self.filters: Tensor
        self.register_buffer("filters", filters, persistent=False)  # [M, F]
        layers: list[nn.Module] = []
        before, bands = 1, len(filters)
        for stage in _STAGES:
            after = stage * config.width
            conv = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
            before, bands = after, (bands + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.output = nn.Linear(2 * before * bands, len(config.stems))

    def forward(self, mix: Tensor) -> Tensor:
        """Return the levels [B, S] in dB, relative to the mixture's, of mixtures [B, C, T]."""
        return self.levels(self.features(mix))

    def features(self, mix: Tensor) -> Tensor:
        """Return the log-mel spectrogram [B, M, N] of mixtures [B, C, T]; about -2 to 4."""
        spectrum = reduce(power(self.stft(mix)), "b c f n -> b f n", "mean")
        mel = einsum(self.filters, spectrum, "m f, b f n -> b m n")
        mean = reduce(mel, "b m n -> b 1 1", "mean").clamp_min(torch.finfo(mel.dtype).tiny)
        return 10 * torch.log10(mel / mean + _RANGE) / 20 + 2

    def logits(self, features: Tensor) -> Tensor:
        """Return [B, S] of which the sigmoid is the level's share of `floor_db`."""
        maps = self.convolutions(rearrange(features, "b m n -> b 1 m n"))
        over_time = [reduce(maps, "b c m n -> b (c m)", how) for how in ("mean", "max")]
        logits: Tensor = self.output(torch.cat(over_time, dim=1))
        return logits

    def levels(self, features: Tensor) -> Tensor:
        """Return the levels [B, S] in dB."""
        return self.config.floor_db * torch.sigmoid(self.logits(features))

    def loss(self, features: Tensor, levels: Tensor) -> Tensor:
        """Return the mean cross-entropy between told and true levels [B, S] (dB).

        As shares y of `floor_db`, of which the cross-entropy with sigmoid(z) is least at the
        expected y. An expected level bounds how often the stem is louder than another level L
        (Markov): P(level > L) <= (E[level] - floor) / (L - floor). So the level is a score of
        silence, too; a median, as an L1 loss gives it, would be at the floor from 50 % on.
        """
        shares = levels / self.config.floor_db
        return F.binary_cross_entropy_with_logits(self.logits(features), shares.to(features))


def levels_db(stems: Tensor, mix: Tensor, floor_db: float) -> Tensor:
    """Return the levels in dB of stems relative to mixtures, both given by their energies.

    10 log10(|s|^2 / |x|^2), at least `floor_db` and at most 0; of a mixture that is all zeros, at
    the floor.
    """
    tiny = torch.finfo(torch.float64).tiny
    share = stems / mix.clamp_min(tiny)
    return (10 * torch.log10(share.clamp_min(tiny))).clamp(floor_db, 0)


def is_sounding(mix: Tensor) -> Tensor:
    """Return which [...] of mixtures [..., C, T] sound at all: are above -80 dB of full scale.

    In one that does not, every stem is silent, and nothing can be learned from it.
    """
    return reduce(mix.square(), "... c t -> ...", "mean") > _SOUND
