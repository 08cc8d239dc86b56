"""The paper's BandSplitRNN against the modules of BandIt in msst 0.1.0, with the same weights.

BandIt generalises BandSplitRNN (Watcharasupat et al., arXiv 2309.02539): the same band split,
recurrent layers and masks. It normalises each step for itself where the paper has a group norm over
the sequence, so the test puts that norm into its place. Its package imports a training framework;
stubs with the packages' paths let the three files be imported.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from mss.core.types import AudioSpec
from mss.models.bsrnn import BandSplitRNN, BandSplitRNNConfig

pytestmark = pytest.mark.parity

CONFIG = BandSplitRNNConfig(
    bands=((250.0, 1000.0), (500.0, 4000.0), (2000.0, 8000.0)),
    features=16,
    layers=3,
    hidden_size=24,
    mask_hidden=32,
    nfft=512,
    nhop=128,
)


class GroupNormOverSequence(nn.GroupNorm):
    """What the paper has before each recurrent layer, for BandIt's [B, rows, steps, D]."""

    def forward(self, input: Tensor) -> Tensor:
        rows = len(input)
        y = super().forward(rearrange(input, "b r l d -> (b r) d l"))
        return rearrange(y, "(b r) d l -> b r l d", b=rows)


@pytest.fixture(scope="module")
def bandit() -> Iterator[types.SimpleNamespace]:
    """BandIt's three kinds of modules."""
    spec = importlib.util.find_spec("msst")
    assert spec is not None and spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    name = "msst"
    with pytest.MonkeyPatch.context() as patch:
        for part in (None, "models", "bandit", "core", "model", "bsrnn"):
            if part is not None:
                name, folder = f"{name}.{part}", folder / part
            package = types.ModuleType(name)
            package.__path__ = [str(folder)]
            patch.setitem(sys.modules, name, package)
        helpers = types.ModuleType(f"{name}.utils")
        helpers.band_widths_from_specs = lambda specs: [b - a for a, b in specs]  # type: ignore[attr-defined]
        for check in ("check_no_gap", "check_no_overlap", "check_nonzero_bandwidth"):
            setattr(helpers, check, lambda specs: None)
        patch.setitem(sys.modules, helpers.__name__, helpers)
        files = [f"{name}.{part}" for part in ("bandsplit", "tfmodel", "maskestim")]
        split, recurrent, masks = (importlib.import_module(file) for file in files)
        yield types.SimpleNamespace(
            split=split.BandSplitModule,
            recurrent=recurrent.SeqBandModellingModule,
            masks=masks.MaskEstimationModule,
        )
        for file in files:
            patch.delitem(sys.modules, file)


def build_reference(bandit: types.SimpleNamespace, edges: tuple[int, ...]) -> nn.ModuleDict:
    config, specs = CONFIG, list(pairwise(edges))
    recurrent = bandit.recurrent(config.layers, config.features, config.hidden_size)
    for block in recurrent.seqband:
        block.norm = GroupNormOverSequence(config.norm_groups, config.features)
    reference = nn.ModuleDict(
        {
            "split": bandit.split(specs, config.features, in_channel=1),
            "recurrent": recurrent,
            "masks": bandit.masks(specs, config.features, config.mask_hidden, in_channel=1),
        }
    )
    with torch.no_grad():  # norms start neutral, which would hide a wrong one
        for parameter in reference.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return reference.eval()


@torch.no_grad()
def copy_weights(reference: Any, model: BandSplitRNN) -> None:
    """Put BandIt's weights into our stacked layers, group by group."""
    ours: Any = model.targets[0]
    for layer, bands in zip(ours.split.layers, model.layout.groups.values(), strict=True):
        for place, band in enumerate(bands):
            theirs = reference["split"].norm_fc_modules[band]
            layer.norm_weight[place, :, 0] = theirs.norm.weight
            layer.norm_bias[place, 0] = theirs.norm.bias
            layer.weight[place] = theirs.fc.weight.t()
            layer.bias[place, 0] = theirs.fc.bias
    blocks = [b for pair in zip(ours.over_frames, ours.over_bands, strict=True) for b in pair]
    for block, theirs in zip(blocks, reference["recurrent"].seqband, strict=True):
        block.norm.load_state_dict(theirs.norm.state_dict())
        block.lstm.load_state_dict(theirs.rnn.state_dict())
        block.linear.load_state_dict(theirs.fc.state_dict())
    for layer, bands in zip(ours.masks.layers, model.layout.groups.values(), strict=True):
        for place, band in enumerate(bands):
            theirs = reference["masks"].norm_mlp[band]
            hidden, output = theirs.hidden[0], theirs.output[0]
            first = ours.masks.hidden[0]
            rank = model.layout.grouped_bands.index(band)
            first.norm_weight[rank, :, 0] = theirs.norm.weight
            first.norm_bias[rank, 0] = theirs.norm.bias
            first.weight[rank] = hidden.weight.t()
            first.bias[rank, 0] = hidden.bias
            # the parts of a bin are neighbours there, halves of a band here
            layer.weight[place] = rearrange(output.weight, "(g w p) h -> h (g p w)", g=2, p=2)
            layer.bias[place, 0] = rearrange(output.bias, "(g w p) -> (g p w)", g=2, p=2)


@torch.no_grad()
def test_spectra(bandit: types.SimpleNamespace) -> None:
    torch.manual_seed(0)
    model = BandSplitRNN(CONFIG, AudioSpec(("vocals",))).eval()
    reference = build_reference(bandit, model.layout.edges)
    copy_weights(reference, model)
    mix = 0.1 * torch.randn(2, 2, 6000, generator=torch.Generator().manual_seed(1))
    spec = model.stft(mix)
    channels = rearrange(spec, "b c f n -> (b c) 1 f n")
    mask = reference["masks"](reference["recurrent"](reference["split"](channels)))
    expected = rearrange(mask * channels, "(b c) 1 f n -> b 1 c f n", b=2)
    got = model(mix).spec
    assert got is not None and got.shape == expected.shape
    rms = expected.abs().square().mean().sqrt().item()
    assert rms > 1e-2
    assert (got - expected).abs().max().item() <= 1e-5 * rms
