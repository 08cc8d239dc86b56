"""D3Net: multi-dilated dense blocks map the mixture's magnitude spectrogram to a source's.

Takahashi and Mitsufuji, "D3Net: densely connected multidilated DenseNet for music source
separation", 2020 (arXiv 2010.01733); details as in the authors' configurations and network
(github.com/sony/ai-research-code, d3net/music-source-separation). A network is made for one source;
several sources here are as many networks of the same shape, as in Open-Unmix.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.stft import Stft
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds
from mss.core.wiener import wiener
from mss.nn.dense import BranchOptions, D2Block, MultiScaleBranch
from mss.nn.padding import pad_to_multiple

# 256 frames: 255 hops of 1024 samples at 44.1 kHz
_PATCH = Fraction(255 * 1024, 44100)


@dataclass(frozen=True)
class D3NetConfig(SeparatorConfig):
    """The defaults are the published ones for vocals; `other` has the same.

    Three branches look at the spectrogram: one at its low bins, one at its high bins, one at all.
    The keys of each have its name in front. `growth` and `layers` are those of its D3 blocks, from
    the finest resolution to the coarsest and back: an odd number of them.

    Attributes:
        segment: seconds of one chunk at inference; training took crops of 6 s.
        nfft, nhop: STFT window and hop, samples.
        split_bin: first bin of the high branch.
        top_bin: this bin and those above pass through unchanged.
        low_features, high_features, full_features: channels of a branch's first convolution.
        low_growth, high_growth, full_growth: output channels of each D3 block.
        low_layers, high_layers, full_layers: convolutions in a D2 block of each D3 block.
        low_blocks, high_blocks, full_blocks: D2 blocks in a D3 block.
        final_growth, final_layers: of the D2 block that joins the branches.
        niter: Wiener iterations at evaluation; training takes the mixture's phase (0).
        residual: let what the sources leave of the mixture take part in the filter.
    """

    segment: Seconds = _PATCH
    nfft: int = 4096
    nhop: int = 1024
    split_bin: int = 256
    top_bin: int = 1600
    low_features: int = 32
    low_growth: tuple[int, ...] = (16, 18, 20, 22, 20, 18, 16)
    low_layers: tuple[int, ...] = (5, 5, 5, 5, 4, 4, 4)
    low_blocks: int = 2
    high_features: int = 8
    high_growth: tuple[int, ...] = (2, 2, 2, 2, 2)
    high_layers: tuple[int, ...] = (1, 1, 1, 1, 1)
    high_blocks: int = 1
    full_features: int = 32
    full_growth: tuple[int, ...] = (13, 14, 15, 16, 17, 16, 14, 12, 11)
    full_layers: tuple[int, ...] = (4, 5, 6, 7, 8, 6, 5, 4, 4)
    full_blocks: int = 2
    final_growth: int = 12
    final_layers: int = 3
    niter: int = 1
    residual: bool = False

    def branch(self, name: str) -> BranchOptions:
        """Shape of the branch `name`: "low", "high" or "full"."""
        return BranchOptions(
            features=getattr(self, f"{name}_features"),
            growth=getattr(self, f"{name}_growth"),
            layers=getattr(self, f"{name}_layers"),
            blocks=getattr(self, f"{name}_blocks"),
        )

    def branch_bins(self, name: str) -> int:
        """Bins that the branch `name` looks at."""
        low, top = self.split_bin, self.top_bin
        return {"low": low, "high": top - low, "full": top}[name]


_BRANCHES = ("low", "high", "full")


class SourceNetwork(nn.Module):
    """Magnitudes of the mixture to those of one source."""

    def __init__(self, config: D3NetConfig, channels: int) -> None:
        super().__init__()
        self.split_bin, self.top_bin = config.split_bin, config.top_bin
        options = {name: config.branch(name) for name in _BRANCHES}
        self.multiple = 2 ** max(branch.levels for branch in options.values())
        bins = config.nfft // 2 + 1
        # x -> (x - input_mean) / input_scale, per bin; see set_statistics. The published network
        # has them for all bins, though it reads those below top_bin.
        self.input_mean = nn.Parameter(torch.zeros(bins, 1))
        self.input_scale = nn.Parameter(torch.ones(bins, 1))
        self.low = MultiScaleBranch(channels, options["low"])
        self.high = MultiScaleBranch(channels, options["high"])
        self.full = MultiScaleBranch(channels, options["full"])
        width = max(options["low"].outputs, options["high"].outputs)
        self.match_low = _match(options["low"].outputs, width)
        self.match_high = _match(options["high"].outputs, width)
        joined = width + options["full"].outputs
        self.final = D2Block(joined, config.final_growth, config.final_layers)
        # a filter and its gate, in one convolution
        self.gated = nn.Sequential(
            nn.BatchNorm2d(config.final_growth),
            nn.Conv2d(config.final_growth, 2 * channels, 1),
            nn.GLU(dim=1),
        )
        self.output_scale = nn.Parameter(torch.ones(config.top_bin, 1))
        self.output_mean = nn.Parameter(torch.ones(config.top_bin, 1))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_normal_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, scale: Tensor) -> None:
        """Start from a data set's mean and standard deviation of each bin's magnitude, [F]."""
        self.input_mean.copy_(mean[:, None])
        self.input_scale.copy_(scale[:, None])

    def forward(self, magnitude: Tensor) -> Tensor:
        """Map [B, C, F, N] to [B, C, F, N]; N is a multiple of `multiple`."""
        top, split = self.top_bin, self.split_bin
        x = (magnitude[:, :, :top] - self.input_mean[:top]) / self.input_scale[:top]
        low = self.match_low(self.low(x[:, :, :split]))
        high = self.match_high(self.high(x[:, :, split:]))
        bands = torch.cat([low, high], dim=2)
        y = self.gated(self.final(torch.cat([bands, self.full(x)], dim=1)))
        y = torch.relu(torch.addcmul(self.output_mean, y, self.output_scale))
        return torch.cat([y, magnitude[:, :, top:]], dim=2)


def _match(channels: int, width: int) -> nn.Module:
    """Bring a branch with fewer channels to the width of the other: they meet along the bins."""
    if channels == width:
        return nn.Identity()
    return nn.Sequential(nn.BatchNorm2d(channels), nn.Conv2d(channels, width, 1))


class D3Net(Separator):
    """D3Net, one network a source, then a multichannel Wiener filter with their magnitudes.

    The authors also average the outputs for the mixture and for its channels swapped, outside of
    the network.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = D3NetConfig
    config: D3NetConfig

    def __init__(self, config: D3NetConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        _check(config, spec)
        self.stft = Stft(config.nfft, config.nhop)
        self.targets = nn.ModuleList(SourceNetwork(config, spec.channels) for _ in spec.sources)

    @property
    def inference(self) -> InferenceDefaults:
        # patches of 256 frames, a new one every 128
        return InferenceDefaults(segment=self.segment, overlap=0.5, window="flat")

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into its magnitudes [B, C, F, N]."""
        spec = self.stft(mix)
        return Features((spec.abs(),), {"spec": spec, "length": mix.shape[-1]})

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map magnitudes [B, C, F, N] to those of the sources, [B, S, C, F, N]."""
        frames = inputs[0].shape[-1]
        targets = [target for target in self.targets if isinstance(target, SourceNetwork)]
        # silence after the end, to frames that can be halved as often as the deepest level needs
        padded = pad_to_multiple(inputs[0], targets[0].multiple)
        # few channels and many bins: convolutions are 1.25 x faster with the channels together
        padded = padded.contiguous(memory_format=torch.channels_last)
        out = torch.stack([target(padded) for target in targets], dim=1)
        return (out[..., :frames],)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Give the magnitudes the mixture's phase; in evaluation, refine by Wiener filtering."""
        mix, length, config = features.context["spec"], features.context["length"], self.config
        magnitudes = outputs[0].to(mix.real.dtype)
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
    def tiny(cls, spec: AudioSpec) -> D3Net:
        config = D3NetConfig(
            segment=Fraction(1),
            nfft=128,
            nhop=32,
            split_bin=16,
            top_bin=48,
            low_features=4,
            low_growth=(3, 4, 3),
            low_layers=(2, 3, 2),
            high_features=3,
            high_growth=(2,),
            high_layers=(1,),
            full_features=4,
            full_growth=(3, 4, 5, 4, 3),
            full_layers=(2, 2, 3, 2, 2),
            final_growth=4,
            final_layers=2,
            residual=len(spec.sources) == 1,
        )
        return cls(config, spec)


def _check(config: D3NetConfig, spec: AudioSpec) -> None:
    if config.nfft < 2 or config.nfft % 2 or not 1 <= config.nhop <= config.nfft // 2:
        raise ConfigError(
            f"model.nhop: {config.nhop} samples; from 1 to half of an even model.nfft ="
            f" {config.nfft}, so that windows overlap"
        )
    if not 0 < config.split_bin < config.top_bin <= config.nfft // 2 + 1:
        raise ConfigError(
            f"model.split_bin: {config.split_bin} must lie between 0 and model.top_bin ="
            f" {config.top_bin}, and that within the {config.nfft // 2 + 1} bins"
        )
    for key in ("final_growth", "final_layers"):
        if getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    for name in _BRANCHES:
        _check_branch(name, config)
    if config.niter < 0:
        raise ConfigError(f"model.niter: {config.niter} is negative")
    if config.niter and len(spec.sources) == 1 and not config.residual:
        raise ConfigError(
            f"model.niter: filtering needs something to tell {spec.sources[0]!r} from; set"
            " model.residual=true or model.niter=0"
        )


def _check_branch(name: str, config: D3NetConfig) -> None:
    options = config.branch(name)
    for key in ("features", "blocks"):
        if getattr(options, key) < 1:
            raise ConfigError(f"model.{name}_{key}: {getattr(options, key)} is not positive")
    for key in ("growth", "layers"):
        values = getattr(options, key)
        if len(values) % 2 == 0 or min(values) < 1:
            raise ConfigError(
                f"model.{name}_{key}: {list(values)} is not an odd number of positive numbers (down"
                " to the coarsest resolution and up again)"
            )
    if len(options.growth) != len(options.layers):
        raise ConfigError(
            f"model.{name}_layers: {len(options.layers)} numbers for the {len(options.growth)} of"
            f" model.{name}_growth"
        )
    bins = config.branch_bins(name)
    if bins % 2**options.levels:
        key = "split_bin" if name == "low" else "top_bin"
        raise ConfigError(
            f"model.{key}: the {name} branch has {bins} bins, which cannot be halved"
            f" {options.levels} times"
        )
