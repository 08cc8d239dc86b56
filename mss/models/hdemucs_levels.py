"""Shapes of the levels of Hybrid Demucs, worked out and checked before anything is built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from mss.core.errors import ConfigError
from mss.core.separator import check_numbers
from mss.core.types import AudioSpec
from mss.nn.dconv import DConvOptions
from mss.nn.hybrid_layers import LayerOptions

if TYPE_CHECKING:
    from mss.models.hdemucs import HDemucsConfig

_HEADS = 4


@dataclass(frozen=True)
class Level:
    """One level of one branch.

    Attributes:
        index: from 0, the outermost.
        chin, chout: channels of the encoder layer.
        chin_decoder: channels that the decoder layer gives.
        options: of both layers, before what distinguishes them.
        options_encoder, options_decoder: of each.
        bins_out: frequency bins after the encoder layer.
        banded: separate weights for separate bands.
        time: the level of the time branch beside this one.
    """

    index: int
    chin: int
    chout: int
    chin_decoder: int
    options: LayerOptions
    options_encoder: LayerOptions
    options_decoder: LayerOptions
    bins_out: int
    banded: bool = False
    time: Level | None = None


def plan_levels(config: HDemucsConfig, spec: AudioSpec, merge: bool = True) -> list[Level]:
    """Return the levels, the outermost first.

    Args:
        config: of the U-nets.
        spec: what to separate.
        merge: whether the branches of a hybrid model meet below; else each keeps its own steps and
            bins down to the deepest level.

    Raises:
        ConfigError: options that do not fit together.
    """
    _check_options(config)
    parts = 2 if config.cac else 1
    chin_time, chin = spec.channels, spec.channels * parts
    outputs_time, outputs = (
        spec.channels * len(spec.sources),
        spec.channels * len(spec.sources) * parts,
    )
    chout_time, chout = config.channels_time or config.channels, config.channels
    bins = config.nfft // 2
    levels: list[Level] = []
    for index in range(config.depth):
        frequency = bins > 1
        collapse = frequency and bins <= config.kernel_size
        options = _options(config, index, bins)
        if collapse:
            chout_time = chout = max(chout_time, chout)
        time = None
        if config.hybrid and frequency:
            time_options = replace(
                options,
                frequency=False,
                kernel=config.kernel_size,
                stride=config.stride,
                padding=config.stride // 2,
                only_conv=collapse,
            )
            time = _level(config, index, time_options, (chin_time, chout_time, outputs_time), 1)
        if collapse:
            bins = 1
        elif frequency:
            bins //= config.stride
        level = _level(config, index, options, (chin, chout, outputs), bins)
        banded = bool(config.multi_freqs) and index < config.multi_freqs_depth
        if banded:
            if not frequency or collapse:
                raise ConfigError(
                    f"model.multi_freqs_depth: level {index} has no bins left to split into bands"
                )
            level = replace(
                level,
                banded=True,
                options_decoder=replace(level.options_decoder, context_frequency=False),
            )
        levels.append(replace(level, time=time))
        chin_time = outputs_time = chout_time
        chin = outputs = chout
        chout_time, chout = int(config.growth * chout_time), int(config.growth * chout)
    if merge:
        _check_merge(config, levels)
    else:
        _check_apart(config, levels)
    return levels


def _options(config: HDemucsConfig, index: int, bins: int) -> LayerOptions:
    """Options of level `index` of the frequency branch, whose input has `bins` bins."""
    kernel, stride, padding = config.kernel_size, config.stride, config.stride // 2
    if bins == 1:
        stride = config.time_stride
        kernel, padding = 2 * stride, stride // 2
    elif bins <= config.kernel_size:
        kernel, padding = bins, 0
    elif bins % stride:
        raise ConfigError(
            f"model.nfft: the {bins} bins before level {index} are not a multiple of"
            f" model.stride = {stride}; take a power of two for nfft"
        )
    return LayerOptions(
        frequency=bins > 1,
        kernel=kernel,
        stride=stride,
        padding=padding,
        norm_groups=config.norm_groups if index >= config.norm_starts else None,
        rewrite=config.rewrite,
        dconv=DConvOptions(
            depth=config.dconv_depth,
            compress=config.dconv_comp,
            init=config.dconv_init,
            lstm=index >= config.dconv_lstm,
            attention=index >= config.dconv_attn,
            heads=_HEADS,
        ),
    )


def _level(
    config: HDemucsConfig,
    index: int,
    options: LayerOptions,
    channels: tuple[int, int, int],
    bins_out: int,
) -> Level:
    chin, chout, chin_decoder = channels
    _check_channels(config, index, options, chout, chin_decoder)
    without = replace(options, dconv=None)
    return Level(
        index=index,
        chin=chin,
        chout=chout,
        chin_decoder=chin_decoder,
        options=options,
        options_encoder=replace(
            options if config.dconv_mode & 1 else without, context=config.context_enc
        ),
        options_decoder=replace(
            options if config.dconv_mode & 2 else without, context=config.context
        ),
        bins_out=bins_out,
    )


def _check_options(config: HDemucsConfig) -> None:
    check_numbers(config)  # before the model itself is made, which does it, too
    for key in ("channels", "depth", "nfft", "norm_groups", "kernel_size", "time_stride", "stride"):
        if getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    for key in ("context", "context_enc"):
        if getattr(config, key) < 0:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is negative")
    if config.dconv_comp <= 0:
        raise ConfigError(f"model.dconv_comp: {config.dconv_comp} is not positive")
    if config.nfft % 8:
        raise ConfigError(f"model.nfft: {config.nfft} is not a multiple of 8")
    if config.stride % 2 or config.time_stride % 2:
        raise ConfigError(
            f"model.stride, model.time_stride: {config.stride} and {config.time_stride} must be"
            " even, so that half a stride can be padded on each side"
        )
    if config.kernel_size != 2 * config.stride:
        raise ConfigError(
            f"model.kernel_size: {config.kernel_size} must be twice model.stride ="
            f" {config.stride}, so that a layer divides its axis by the stride exactly"
        )
    if config.hybrid_old and not config.hybrid:
        raise ConfigError("model.hybrid_old: needs model.hybrid=true")
    if config.hybrid and config.wiener_iters != config.end_iters:
        raise ConfigError(
            "model.end_iters: must equal model.wiener_iters in a hybrid model, whose time branch"
            " learns to add to one fixed filter"
        )
    ratios = (0.0, *config.multi_freqs, 1.0)
    if any(low >= high for low, high in pairwise(ratios)):
        raise ConfigError(
            f"model.multi_freqs: {list(config.multi_freqs)} must increase and lie between 0 and 1"
        )
    if config.multi_freqs and config.multi_freqs_depth > config.norm_starts:
        raise ConfigError(
            "model.multi_freqs_depth: levels split into bands have no norms; at most"
            f" model.norm_starts = {config.norm_starts}"
        )


def _check_channels(
    config: HDemucsConfig, index: int, options: LayerOptions, chout: int, chin_decoder: int
) -> None:
    if options.norm_groups is not None and (
        chout % options.norm_groups or chin_decoder % options.norm_groups
    ):
        raise ConfigError(
            f"model.norm_groups: {options.norm_groups} groups do not divide the {chin_decoder} and"
            f" {chout} channels of level {index}; change model.channels, growth or norm_starts"
        )
    dconv = options.dconv
    if dconv is None or not config.dconv_mode or options.only_conv:
        return
    hidden = dconv.hidden(chout)
    # a norm of a single channel would fail on an input of a single step
    if hidden < 2 or (dconv.attention and hidden % dconv.heads):
        raise ConfigError(
            f"model.dconv_comp: {dconv.compress:g} leaves {hidden} of the {chout} channels of level"
            f" {index}: there must be at least 2 and, with attention, a multiple of {dconv.heads}"
        )


def _check_merge(config: HDemucsConfig, levels: list[Level]) -> None:
    """A time branch must reach the spectrogram's frame rate where one bin is left."""
    if not config.hybrid:
        return
    over_frequency = sum(level.options.frequency for level in levels)
    if levels[over_frequency - 1].bins_out != 1:
        raise ConfigError(
            f"model.depth: {config.depth} levels leave {levels[-1].bins_out} bins; the branches of"
            " a hybrid model merge where 1 is left: raise depth or lower nfft"
        )
    hop, total = config.nfft // 4, config.stride**over_frequency
    if hop != total:
        raise ConfigError(
            f"model.nfft: the hop of {hop} samples must equal the time branch's total stride of"
            f" {config.stride}^{over_frequency} = {total}; 4096, 1024 and 256 fit a stride of 4"
        )


def _check_apart(config: HDemucsConfig, levels: list[Level]) -> None:
    """Branches that never merge must both still be of their own kind at the deepest level."""
    if levels[-1].bins_out == 1:
        raise ConfigError(
            f"model.depth: {config.depth} levels leave 1 of the {config.nfft // 2} bins; the"
            " spectrogram's branch needs at least 2 below: lower depth or raise nfft"
        )
