"""BandSplitRNN: recurrent layers over the frames of each band and over the bands of each frame.

Luo and Yu, "Music source separation with band-split RNN", 2022 (arXiv 2209.15174), with complex
sub-bands and complex masks, and the variant of team aimless at the Sound Demixing Challenge 2023
(github.com/aim-qmul/sdx23-aimless), with log magnitudes, real masks and a Wiener filter.

Both were published for one source at a time, with bands to suit it. Several sources here are as
many networks, as in Open-Unmix: they share the bands of this configuration and nothing else. The
channels of a mixture are items of one batch: the network sees them one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.stft import Stft
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds
from mss.core.wiener import wiener
from mss.nn.subbands import BandLayout, BandMasks, BandSplit

# Keeps the logarithm of a silent bin finite (aimless).
_MAGNITUDE_FLOOR = 1e-8


@dataclass(frozen=True)
class BandSplitRNNConfig(SeparatorConfig):
    """The defaults are the paper's, for vocals.

    Attributes:
        segment: seconds of one training crop and of one chunk at inference.
        spectrum: what is split into bands: "complex" (real and imaginary parts, a complex mask) or
            "log_magnitude" (a mask in (0, 1), the mixture's phase).
        bands: pairs of a width and of the frequency up to which bands have it, Hz; one last band
            takes the rest. The paper's scheme V7 is the default.
        features: of one band in one frame.
        layers: pairs of a recurrent layer over frames and one over bands.
        hidden_size: units of their LSTM, per direction.
        proj_size: project the LSTM's state to so many features, per direction, within its
            recursion; twice this is `features`. null: a linear layer after it.
        norm_groups: of the group norm before each recurrent layer.
        mask_hidden: units of a hidden layer of the masks' MLP.
        mask_layers: number of those; the paper describes one, the code that its authors gave to the
            Sound Demixing Challenge 2023 has two.
        nfft, nhop: STFT window and hop, samples.
        niter: Wiener iterations at evaluation, with "log_magnitude" only.
        residual: let what the sources leave of the mixture take part in that filter.
    """

    segment: Seconds = Fraction(3)
    spectrum: Literal["complex", "log_magnitude"] = "complex"
    bands: tuple[tuple[float, float], ...] = (
        (100.0, 1000.0),
        (250.0, 4000.0),
        (500.0, 8000.0),
        (1000.0, 16000.0),
        (2000.0, 20000.0),
    )
    features: int = 128
    layers: int = 12
    hidden_size: int = 256
    proj_size: int | None = None
    norm_groups: int = 1
    mask_hidden: int = 512
    mask_layers: int = 1
    nfft: int = 2048
    nhop: int = 512
    niter: int = 0
    residual: bool = False

    @property
    def parts(self) -> int:
        """Real numbers a bin."""
        return 2 if self.spectrum == "complex" else 1


class ResidualBLSTM(nn.Module):
    """Group norm, BLSTM and a linear layer over the first axis, added to the input."""

    def __init__(self, config: BandSplitRNNConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_groups, config.features)
        self.lstm = nn.LSTM(
            config.features,
            config.hidden_size,
            bidirectional=True,
            proj_size=config.proj_size or 0,
        )
        self.linear: nn.Linear | None = None
        if config.proj_size is None:
            self.linear = nn.Linear(2 * config.hidden_size, config.features)

    def forward(self, x: Tensor) -> Tensor:
        """Map [L, R, features] to the same; L is the sequence, R are independent rows."""
        # each row is normalised over its whole sequence
        y = rearrange(self.norm(rearrange(x, "l r d -> r d l")), "r d l -> l r d")
        y = self.lstm(y)[0]
        out: Tensor = x + (y if self.linear is None else self.linear(y))
        return out


class SourceNetwork(nn.Module):
    """Spectra of single channels to the masks of one source."""

    def __init__(self, layout: BandLayout, config: BandSplitRNNConfig) -> None:
        super().__init__()
        self.split = BandSplit(layout, config.parts, config.features)
        self.over_frames = nn.ModuleList(ResidualBLSTM(config) for _ in range(config.layers))
        self.over_bands = nn.ModuleList(ResidualBLSTM(config) for _ in range(config.layers))
        self.masks = BandMasks(
            layout, config.parts, config.features, config.mask_hidden, config.mask_layers
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map frames [N, R, parts, F] of R channels to masks [N, R, F, parts]."""
        frames = len(x)
        bands = self.split(x.flatten(0, 1))  # [K, N * R, features]
        for over_frames, over_bands in zip(self.over_frames, self.over_bands, strict=True):
            # all bands of all channels are one batch of the LSTM over frames, and so on
            x = over_frames(rearrange(bands, "k (n r) d -> n (k r) d", n=frames))
            bands = over_bands(rearrange(x, "n (k r) d -> k (n r) d", k=len(bands)))
        masks: Tensor = rearrange(self.masks(bands), "(n r) f p -> n r f p", n=frames)
        return masks


class BandSplitRNN(Separator):
    """BandSplitRNN, one network a source.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = BandSplitRNNConfig
    config: BandSplitRNNConfig

    def __init__(self, config: BandSplitRNNConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        _check(config, spec)
        self.stft = Stft(config.nfft, config.nhop)
        self.layout = BandLayout(band_edges(config, spec.samplerate))
        self.targets = nn.ModuleList(SourceNetwork(self.layout, config) for _ in spec.sources)

    @property
    def inference(self) -> InferenceDefaults:
        # the paper averages chunks that start every half a second
        return InferenceDefaults(segment=self.segment, overlap=5 / 6, window="flat")

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into its spectrum [B, C, F, N, parts]."""
        spec = self.stft(mix)
        real = torch.view_as_real(spec) if self.config.parts == 2 else spec.abs()[..., None]
        return Features((real,), {"spec": spec, "length": mix.shape[-1]})

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map spectra [B, C, F, N, parts] to the sources' masks [B, S, C, F, N, parts]."""
        x = rearrange(inputs[0], "b c f n p -> n (b c) p f")
        if self.config.parts == 1:
            x = torch.log(x + _MAGNITUDE_FLOOR)
        masks = torch.stack([target(x) for target in self.targets])
        return (rearrange(masks, "s n (b c) f p -> b s c f n p", c=self.spec.channels),)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Apply the masks; real ones are refined by Wiener filtering in evaluation."""
        mix, length, config = features.context["spec"], features.context["length"], self.config
        masks = outputs[0].to(mix.real.dtype)
        if config.parts == 2:
            spec = torch.view_as_complex(masks.contiguous()) * mix[:, None]
        else:
            magnitudes = (masks * features.inputs[0][:, None]).squeeze(-1)
            iterations = 0 if self.training else config.niter
            spec = wiener(magnitudes, mix, iterations, residual=config.residual, window=None)
            spec = spec[:, : len(self.spec.sources)]
        return Estimate(self.stft.inverse(spec, length), spec, self.stft)

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        if self.config.niter:
            return False  # the filter tells each source from all the others
        self.targets = nn.ModuleList(self.targets[row] for row in rows)
        return True

    @classmethod
    def tiny(cls, spec: AudioSpec) -> BandSplitRNN:
        config = BandSplitRNNConfig(
            segment=Fraction(1),
            bands=((500.0, 2000.0), (2000.0, 8000.0)),
            features=8,
            layers=2,
            hidden_size=8,
            mask_hidden=16,
            nfft=256,
            nhop=64,
        )
        return cls(config, spec)


def band_edges(config: BandSplitRNNConfig, samplerate: int) -> tuple[int, ...]:
    """Return the first bin of each band, then the number of bins.

    A band begins with the bin that its lowest frequency falls into. Those from half of the sample
    rate on are left out.
    """
    nyquist = config.nfft // 2
    edges, lowest = [0], 0.0
    for width, highest in config.bands:
        count = round((highest - lowest) / width)
        edges += [
            int(config.nfft * (lowest + step * width) / samplerate) for step in range(1, count + 1)
        ]
        lowest = highest
    return (*(edge for edge in edges if edge < nyquist), nyquist + 1)


def _check(config: BandSplitRNNConfig, spec: AudioSpec) -> None:
    for key in ("features", "layers", "hidden_size", "norm_groups", "mask_hidden", "mask_layers"):
        if getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    if config.nfft < 2 or config.nfft % 2 or not 1 <= config.nhop <= config.nfft // 2:
        raise ConfigError(
            f"model.nhop: {config.nhop} samples; from 1 to half of an even model.nfft ="
            f" {config.nfft}, so that windows overlap"
        )
    if config.features % config.norm_groups:
        raise ConfigError(
            f"model.norm_groups: {config.norm_groups} does not divide model.features ="
            f" {config.features}"
        )
    if config.proj_size is not None and (
        2 * config.proj_size != config.features or config.proj_size >= config.hidden_size
    ):
        raise ConfigError(
            f"model.proj_size: {config.proj_size} must be half of model.features ="
            f" {config.features} and less than model.hidden_size = {config.hidden_size}"
        )
    _check_filter(config, spec)
    _check_bands(config, spec)


def _check_filter(config: BandSplitRNNConfig, spec: AudioSpec) -> None:
    if config.niter < 0:
        raise ConfigError(f"model.niter: {config.niter} is negative")
    if config.niter and config.spectrum == "complex":
        raise ConfigError(
            "model.niter: the filter starts from magnitudes; complex masks need 0, or set"
            " model.spectrum=log_magnitude"
        )
    if config.niter and len(spec.sources) == 1 and not config.residual:
        raise ConfigError(
            f"model.niter: filtering needs something to tell {spec.sources[0]!r} from; set"
            " model.residual=true or model.niter=0"
        )


def _check_bands(config: BandSplitRNNConfig, spec: AudioSpec) -> None:
    lowest = 0.0
    for width, highest in config.bands:
        if width <= 0 or highest <= lowest or (highest - lowest) % width:
            raise ConfigError(
                f"model.bands: no whole number of bands of {width:g} Hz, one or more, lies between"
                f" {lowest:g} and {highest:g} Hz"
            )
        lowest = highest
    edges = band_edges(config, spec.samplerate)
    if min(BandLayout(edges).widths) < 1:
        raise ConfigError(
            f"model.bands: a band has no bin of {spec.samplerate / config.nfft:.1f} Hz; widen the"
            f" bands or raise model.nfft = {config.nfft}"
        )
