"""Rewrites of a graph: they happen where they should, and only there, and change no value."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openvino
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mss.infer.backends.openvino_graph import mark_exact, optimise


class Traced(nn.Module):
    """A network as the exporter wraps it: what it holds is called `model`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class Function(nn.Module):
    """A module of some layers and what is done with them."""

    def __init__(self, function: Any, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function(self, x)
        return out


def traced(module: nn.Module, x: Tensor) -> Any:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, as when networks are exported
        return openvino.convert_model(Traced(module.eval()), example_input=x, input=[list(x.shape)])


def kinds(graph: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in graph.get_ordered_ops())


def run(graph: Any, x: Tensor) -> Tensor:
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    compiled = openvino.Core().compile_model(graph, "CPU", exact)
    return torch.from_numpy(compiled([x.numpy()])[0].copy())


def rewritten(module: nn.Module, x: Tensor, rounded: Sequence[str] = ()) -> tuple[Any, Any]:
    """Return which kinds of nodes there were and are, and insist on the values."""
    with torch.no_grad():
        expected = module.eval()(x)
    assert expected.square().mean() > 1e-4
    graph = traced(module, x)
    before = kinds(graph)
    optimise(graph, rounded)
    assert graph.outputs[0].partial_shape.to_shape() == list(expected.shape)
    torch.testing.assert_close(run(graph, x), expected, atol=1e-5, rtol=1e-5)
    return before, kinds(graph)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def randomised(norm: nn.GroupNorm) -> nn.GroupNorm:
    """With another scale and shift for each channel."""
    if norm.affine:
        nn.init.normal_(norm.weight, 1.0)
        nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("shape", [(2, 6, 50), (1, 6, 5, 9)])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_of_one_group(shape: tuple[int, ...], affine: bool) -> None:
    # the values are small: epsilon decides, and where it stands
    norm = randomised(nn.GroupNorm(1, 6, eps=1e-3, affine=affine))
    before, after = rewritten(norm, 0.03 * torch.randn(*shape) + 0.05)
    assert before["GroupNormalization"] == 1
    assert after["GroupNormalization"] == 0
    assert after["MVN"] == 1


def test_group_norm_of_several_groups_stays() -> None:
    _, after = rewritten(randomised(nn.GroupNorm(2, 6)), torch.randn(2, 6, 50))
    assert after["GroupNormalization"] == 1


def conv1d(bias: bool = True, **options: Any) -> nn.Conv1d:
    return nn.Conv1d(4, 6, 3, bias=bias, **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda bias: conv1d(bias, stride=2, padding=1), (2, 4, 31)),
        (lambda bias: conv1d(bias, dilation=3), (1, 4, 31)),
        (lambda bias: nn.Conv2d(4, 6, (3, 1), padding=(1, 0), bias=bias), (1, 4, 9, 7)),
    ],
    ids=["stride", "dilation", "2d"],
)
def test_glu_after_a_convolution(layer: Any, shape: tuple[int, ...], bias: bool) -> None:
    module = nn.Sequential(layer(bias), nn.GLU(dim=1))
    before, after = rewritten(module, torch.randn(*shape))
    assert (before["Split"], before["Convolution"]) == (1, 1)
    assert (after["Split"], after["Convolution"]) == (0, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: F.glu(self.a(x), 2),
        lambda self, x: F.glu(F.relu(self.a(x)), 1),
        # the convolution is asked for elsewhere, too
        lambda self, x: (y := self.a(x)) * y.mean() + F.glu(y, 1).repeat(1, 2, 1),
        lambda self, x: sum(self.a(x).chunk(3, 1)),
        lambda self, x: F.glu(x, 1),
    ],
    ids=["along time", "after an activation", "two consumers", "three parts", "of the input"],
)
def test_other_splits_keep_their_values(function: Any) -> None:
    rewritten(Function(function, a=conv1d(False, padding=1)), torch.randn(1, 4, 30))


@pytest.mark.parametrize(
    "added",
    [torch.randn(1, 1, 30), torch.randn(1, 1, 1), torch.randn(1, 6, 30), torch.randn(6, 1)],
    ids=["along time", "one number", "everywhere", "without a batch axis"],
)
def test_what_is_added_before_a_glu_need_not_be_a_bias(added: Tensor) -> None:
    """A constant of any shape that broadcasts."""
    module = Function(lambda self, x: F.glu(self.a(x) + added, 1), a=conv1d(False, padding=1))
    rewritten(module, torch.randn(1, 4, 30))


class Two(nn.Module):
    """A linear layer inside of what may be rounded, and one outside."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8, bias=bias)
        self.outer = nn.Linear(8, 12, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.inner(x)
        # a product of two tensors that are no weights
        x = x + F.scaled_dot_product_attention(x, x, x) @ x.transpose(1, 2).softmax(-1) @ x
        out: Tensor = self.outer(x)
        return out


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_outside_of_the_rounded_is_a_convolution(bias: bool) -> None:
    before, after = rewritten(Two(bias), torch.randn(2, 5, 8), ["inner"])
    assert (before["MatMul"], before["Convolution"]) == (4, 0)
    assert (after["MatMul"], after["Convolution"]) == (3, 1)


def test_linear_layers_stay_where_nothing_is_rounded() -> None:
    _, after = rewritten(Two(), torch.randn(2, 5, 8))
    assert (after["MatMul"], after["Convolution"]) == (4, 0)


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 5, 8)])
def test_a_linear_layer_over_other_shapes_keeps_its_values(shape: tuple[int, ...]) -> None:
    rewritten(Function(lambda self, x: self.a(x), a=nn.Linear(8, 12)), torch.randn(*shape), ["b"])


def test_a_linear_layer_over_a_transposed_input() -> None:
    module = Function(lambda self, x: self.a(x.transpose(1, 2)), a=nn.Linear(8, 12))
    rewritten(module, torch.randn(2, 8, 5), ["b"])


def marked(xml: Path) -> dict[str, tuple[str, bool]]:
    """Kind of each layer by its name, and whether it carries the mark."""
    layers = ET.parse(xml).getroot().find("layers")
    assert layers is not None
    return {
        layer.attrib["name"]: (
            layer.attrib["type"],
            any(
                entry.get("name") == "precise" and entry.get("version") == "0"
                for entry in layer.iterfind("rt_info/attribute")
            ),
        )
        for layer in layers
    }


def test_all_but_the_products_inside_of_rounded_modules_is_marked(tmp_path: Path) -> None:
    module = nn.Sequential()
    module.add_module("first", Two())
    module.add_module("firstly", Two())  # a name that begins like a rounded one
    x = torch.randn(2, 5, 8)
    module[1].inner = nn.Linear(12, 12)
    module[1].outer = nn.Linear(12, 4)
    graph = traced(module, x)
    xml = tmp_path / "network.xml"
    openvino.save_model(graph, xml, compress_to_fp16=False)
    assert not any(mark for _, mark in marked(xml).values())

    mark_exact(xml, ["first"])
    layers = marked(xml)
    free = {name: kind for name, (kind, mark) in layers.items() if not mark}
    products = {
        name: kind for name, kind in free.items() if kind not in ("Const", "Parameter", "Result")
    }
    expected = {"MatMul": 4, "SoftMax": 1, "ScaledDotProductAttention": 1}
    assert Counter(products.values()) == expected
    assert all(re.search(r"\.model\.first[./]", name) for name in products)
    # and none that can't be computed otherwise is marked in vain
    assert not any(mark for kind, mark in layers.values() if kind in ("Const", "Parameter"))

    torch.testing.assert_close(
        run(openvino.Core().read_model(xml), x), module(x).detach(), atol=1e-5, rtol=1e-5
    )
