"""Encoder and decoder layers of hybrid U-nets, over time or over frequency.

A frequency layer maps [B, C, F, N] and strides over F alone, a time layer maps [B, C, T] and
strides over T; otherwise they are the same (Défossez 2021, arXiv 2111.03600). State-dict names
follow the published checkpoints.
"""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.nn.dconv import DConv, DConvOptions
from mss.nn.padding import pad_to_multiple


@dataclass(frozen=True)
class LayerOptions:
    """Shape of one level of a U-net: of its encoder layer and of the decoder layer opposite.

    Attributes:
        frequency: stride over frequency, else over time.
        kernel, stride: of the strided convolution.
        padding: what it pads at both ends; (kernel - stride) / 2 divides the axis by the stride
            exactly, 0 collapses an axis of `kernel` bins into one.
        norm_groups: groups of the group norms; None: no norms.
        rewrite: follow (encoder) or precede (decoder) the strided convolution by one with GLU.
        context: neighbours on each side that the rewriting convolution sees.
        context_frequency: whether, in a frequency layer, it sees neighbouring bins too or only
            neighbouring frames.
        dconv: the residual branch; None: none.
        only_conv: the strided convolution alone: the end of a branch that merges into another.
    """

    frequency: bool
    kernel: int
    stride: int
    padding: int
    norm_groups: int | None = None
    rewrite: bool = True
    context: int = 0
    context_frequency: bool = True
    dconv: DConvOptions | None = None
    only_conv: bool = False

    def norm(self, channels: int) -> nn.Module:
        if self.norm_groups is None:
            return nn.Identity()
        return nn.GroupNorm(self.norm_groups, channels)

    def rewrite_conv(self, channels: int) -> nn.Module:
        """The convolution before a GLU, channels -> 2 * channels."""
        width = 1 + 2 * self.context
        if not self.frequency:
            return nn.Conv1d(channels, 2 * channels, width, padding=self.context)
        context = (self.context if self.context_frequency else 0, self.context)
        size = (1 + 2 * context[0], width)
        return nn.Conv2d(channels, 2 * channels, size, padding=context)


def _branch_over_time(dconv: DConv, x: Tensor) -> Tensor:
    """Apply a DConv over the last axis of [B, C, T], or of each bin of [B, C, F, N]."""
    if x.dim() == 3:
        y: Tensor = dconv(x)
        return y
    y = dconv(rearrange(x, "b c f n -> (b f) c n"))
    return rearrange(y, "(b f) c n -> b c f n", f=x.shape[2])


class EncoderLayer(nn.Module):
    """Strided convolution, GELU, residual branch, rewriting convolution with GLU."""

    def __init__(self, chin: int, chout: int, options: LayerOptions) -> None:
        super().__init__()
        self.options = options
        self.conv: nn.Module
        if options.frequency:
            self.conv = nn.Conv2d(
                chin, chout, (options.kernel, 1), (options.stride, 1), (options.padding, 0)
            )
        else:
            self.conv = nn.Conv1d(chin, chout, options.kernel, options.stride, options.padding)
        if options.only_conv:
            return
        self.norm1 = options.norm(chout)
        self.dconv = DConv(chout, options.dconv) if options.dconv else None
        if options.rewrite:
            self.rewrite = options.rewrite_conv(chout)
            self.norm2 = options.norm(2 * chout)

    def forward(self, x: Tensor, inject: Tensor | None = None) -> Tensor:
        """Map [B, chin, F, N] to [B, chout, F / stride, N], or [B, chin, T] likewise, rounding up.

        Args:
            x: the layer's input.
            inject: [B, chout, N], the time branch's end; added after the convolution of the
                frequency layer at which both branches have the same steps.
        """
        options = self.options
        if not options.frequency:
            x = pad_to_multiple(x, options.stride)
        y: Tensor = self.conv(x)
        if options.only_conv:
            return y
        if inject is not None:
            y = y + inject[:, :, None]
        y = F.gelu(self.norm1(y))
        if self.dconv is not None:
            y = _branch_over_time(self.dconv, y)
        if options.rewrite:
            y = F.glu(self.norm2(self.rewrite(y)), dim=1)
        return y


class DecoderLayer(nn.Module):
    """The mirror of EncoderLayer: rewriting convolution, residual branch, transposed convolution.

    Args:
        chin, chout: channels.
        options: see LayerOptions.
        last: no activation at the end.
    """

    def __init__(self, chin: int, chout: int, options: LayerOptions, last: bool = False) -> None:
        super().__init__()
        self.options = options
        self.last = last
        # Undo the encoder's padding in the convolution, or after a norm that counts those values.
        self.trim = options.padding if options.norm_groups is not None else 0
        padding = options.padding - self.trim
        self.conv_tr: nn.Module
        if options.frequency:
            self.conv_tr = nn.ConvTranspose2d(
                chin, chout, (options.kernel, 1), (options.stride, 1), (padding, 0)
            )
        else:
            self.conv_tr = nn.ConvTranspose1d(chin, chout, options.kernel, options.stride, padding)
        self.norm2 = options.norm(chout)
        if options.only_conv:
            return
        self.dconv = DConv(chin, options.dconv) if options.dconv else None
        if options.rewrite:
            self.rewrite = options.rewrite_conv(chin)
            self.norm1 = options.norm(2 * chin)

    def forward(self, x: Tensor, skip: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Go up one level.

        Args:
            x: [B, chin, F, N] or [B, chin, T].
            skip: the encoder's output of this level, added first.
            length: size that the strided axis had before the encoder layer.

        Returns:
            The output [B, chout, length, N] or [B, chout, length], and what went into the
            transposed convolution, where another branch may start.
        """
        y = self.refine(x if skip is None else x + skip)
        z = self.norm2(self.conv_tr(y))
        z = z[:, :, self.trim : self.trim + length]
        return (z if self.last else F.gelu(z)), y

    def refine(self, x: Tensor) -> Tensor:
        """Apply all that comes before the transposed convolution."""
        options = self.options
        if options.only_conv:
            return x
        if options.rewrite:
            x = F.glu(self.norm1(self.rewrite(x)), dim=1)
        if self.dconv is not None:
            x = _branch_over_time(self.dconv, x)
        return x


def without_padding(options: LayerOptions) -> LayerOptions:
    """Return the same options for a layer whose caller pads or trims."""
    return replace(options, padding=0)
