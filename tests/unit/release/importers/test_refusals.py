"""Foreign files that are hostile, damaged or not understood: one sentence, nothing run or kept."""

import argparse
import hashlib
import pathlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from foreign_files import Payload
from safetensors.torch import save_file

from mss.core.errors import ConfigError, DataError
from mss.release.importers.foreign import Hints
from mss.release.importers.importing import ImportOptions, import_source
from mss.release.importers.sources import read_checkpoint

Saver = Callable[..., Path]


def refused(source: Path, root: Path, message: str, **options: Any) -> str:
    """Require one sentence that names the file, and that no repo was begun."""
    with pytest.raises(DataError, match=message) as caught:
        import_source(str(source), root, ImportOptions(**options))
    text = str(caught.value)
    assert str(source) in text or str(source.parent) in text
    assert "\n" not in text
    assert not root.exists()
    return text


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["model.th", "model.ckpt", "vocals.pth", "model.pt"])
def test_malicious_reduce(tmp_path: Path, root: Path, name: str, legacy: bool) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "in" / name
    path.parent.mkdir()
    content = {"state": {"weight": torch.zeros(1)}, "note": Payload(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    (path.parent / "model.yaml").write_text("model: hdemucs")
    refused(path, root, r"asks for '(posix|nt).system'.*nothing in it was run")
    if name.endswith(".pth"):
        (path.parent / "model.yaml").unlink()
        refused(path.parent, root, "nothing in it was run")
    assert not trace.exists()
    # the payload is a real one: a careless program would run it
    torch.load(path, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("klass", ["demucs.tasnet.ConvTasNet", "evil.Model", "torch.nn.Linear"])
def test_unknown_class(save_demucs: Saver, root: Path, klass: str) -> None:
    if klass.startswith("torch."):  # a class that torch itself lets no weights-only file name
        path = save_demucs(edit=lambda content: content.update(klass=torch.nn.Linear))
        klass = "torch.nn.modules.linear.Linear"
    else:
        path = save_demucs(klass=klass)
    refused(path, root, rf"asks for '{klass}', which is no part of a checkpoint")


def test_unknown_class_in_a_checkpoint(tmp_path: Path, root: Path, foreign_class: Any) -> None:
    path = tmp_path / "model.ckpt"
    made = foreign_class("evil.package.Model")
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "model": made}, path)
    (tmp_path / "model.yaml").write_text("model: hdemucs")
    refused(path, root, r"asks for 'evil\.package\.Model'")


def test_unknown_class_in_safetensors(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "1a2b3c4d.safetensors"
    metadata = {"klass": "subprocess.Popen", "args": '[["touch", "trace"]]', "kwargs": "{}"}
    save_file({"weight": torch.zeros(1)}, path, metadata)
    refused(path, root, "klass: 'subprocess.Popen' is unknown; importable are Demucs, HDemucs")


def test_wrong_checksum(save_demucs: Saver, root: Path) -> None:
    path = save_demucs()
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    refused(path, root, r"damaged or changed: its SHA-256 starts with \w{8}, not with")


def test_truncated(save_demucs: Saver, root: Path) -> None:
    path = save_demucs()
    content = path.read_bytes()
    for size in (0, 3, 100, len(content) // 2, len(content) - 1):
        plain = path.with_name("model.th")  # no checksum in its name
        plain.write_bytes(content[:size])
        refused(plain, root, "damaged, truncated or not a file of torch.save")


@pytest.mark.parametrize("key", ["args", "kwargs"])
def test_missing_key(save_demucs: Saver, root: Path, key: str) -> None:
    path = save_demucs(edit=lambda content: content.pop(key))
    refused(path, root, f"the key '{key}' is missing")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda state: state.pop("encoder.0.conv.weight"), r"missing: encoder\.0\.conv\.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), r"unexpected: extra"),
        (
            lambda state: state.update({"encoder.0.conv.bias": torch.zeros(3)}),
            r"encoder\.0\.conv\.bias is float32 \[3\], not float32 \[4\]",
        ),
        (lambda state: state.update(note="hello"), "'note' is a str, not a weight"),
        (
            lambda state: state.update({"encoder.0.conv.bias": torch.full((4,), float("nan"))}),
            r"encoder\.0\.conv\.bias: holds NaN",
        ),
        (lambda state: state.update(__quantized=True), "quantised by diffq.*mdx instead of mdx_q"),
        (lambda state: state.clear(), "holds no weights by name"),
    ],
)
def test_wrong_weights(
    save_demucs: Saver, root: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = save_demucs(edit=lambda content: edit(content["state"]))
    with pytest.raises(DataError, match=message) as caught:
        import_source(str(path), root)
    assert str(path) in str(caught.value)
    assert not list(root.glob("*")) if root.exists() else True


def test_quantised_pickle(save_demucs: Saver, root: Path, foreign_class: Any) -> None:
    quantiser = foreign_class("diffq.diffq.DiffQuantizer")
    path = save_demucs(edit=lambda content: content["state"].update(meta={"klass": quantiser}))
    refused(path, root, "quantised by diffq")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": None}, "its options or weights are not those|sources"),
        ({"depth": "six"}, "depth"),
        ({"segment": "long"}, "segment"),
        ({"channels": -4}, "."),
        ({"nfft": 10**9}, "."),
    ],
)
def test_wrong_options(
    save_demucs: Saver, root: Path, change: dict[str, Any], message: str
) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["args"] = ()
        content["kwargs"] = {"sources": ["drums", "vocals"], **content["kwargs"], **change}

    refused(save_demucs(edit=edit), root, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"args": None}, "args and kwargs: .* a NoneType and a dict"),
        ({"args": 5}, "args and kwargs: .* a int and a dict"),
        ({"kwargs": None}, "args and kwargs: .* a tuple and a NoneType"),
        ({"kwargs": [1, 2]}, "args and kwargs: .* a tuple and a list"),
        ({"klass": argparse.Namespace}, "klass: .* is no class of demucs"),
    ],
)
def test_odd_parts(save_demucs: Saver, root: Path, change: dict[str, Any], message: str) -> None:
    refused(save_demucs(edit=lambda content: content.update(change)), root, message)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"depth": 100_000}, "OverflowError"),
        ({"segment": -3}, "segment: -3 s is not positive"),
        ({"segment": "1e999999999"}, "segment: '1e999999999' is not a number of seconds"),
    ],
)
def test_odd_arguments(
    save_demucs: Saver, root: Path, kwargs: dict[str, Any], message: str
) -> None:
    refused(save_demucs(edit=lambda content: content["kwargs"].update(kwargs)), root, message)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(4).to_sparse(),
        lambda: torch.zeros(4, device="meta"),
        lambda: torch.zeros(1).half().expand(4),
        lambda: torch.zeros(1).half().expand(10**11),  # 200 GB, and 400 in float32
        lambda: torch.zeros(7).as_strided((4, 4), (1, 1)),
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    ],
    ids=["sparse", "meta", "expanded", "huge", "overlapping", "nested"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_whose_values_are_not_all_there(
    save_demucs: Saver, root: Path, make: Callable[[], torch.Tensor]
) -> None:
    path = save_demucs(
        edit=lambda content: content["state"].update({"encoder.0.conv.bias": make()})
    )
    refused(
        path, root, r"'encoder\.0\.conv\.bias' is no plain tensor whose values all lie in the f"
    )


def test_one_value_under_many_names(save_demucs: Saver, root: Path) -> None:
    shared = torch.zeros(1000).half()
    names = {f"weight{place}": shared for place in range(5000)}
    path = save_demucs(edit=lambda content: content.update(state=names))
    refused(path, root, "a few values under many names")


def test_compressed_archive(tmp_path: Path, root: Path) -> None:
    path, draft = tmp_path / "model.ckpt", tmp_path / "draft"
    torch.save({"weight": torch.zeros(100_000)}, draft)
    with zipfile.ZipFile(draft) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as small:
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    refused(path, root, r"model\.ckpt: a compressed archive")


def test_quantised_flag_of_any_type(save_demucs: Saver, root: Path) -> None:
    path = save_demucs(edit=lambda content: content["state"].update(__quantized=torch.ones(3)))
    refused(path, root, "quantised by diffq")


def test_bookkeeping_beside_the_weights(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    kept = {
        "best": np.float64(9.5),
        "history": np.arange(3.0),
        "args": argparse.Namespace(folder=pathlib.PurePosixPath("/a/b"), seed=1),
        "folder": pathlib.PosixPath("/a/b"),
    }
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"weight": torch.ones(2)}, **kept}, path)
    (tmp_path / "model.yaml").write_text("model: hdemucs")
    assert torch.equal(read_checkpoint(path).state["weight"], torch.ones(2))
    torch.save({"state_dict": {"weight": torch.ones(2), "note": kept["folder"]}}, path)
    with pytest.raises(DataError, match="'note' is a PosixPath, not a weight"):
        read_checkpoint(path)
    torch.save({"state_dict": {}, "args": argparse.Namespace(note=Payload(trace))}, path)
    with pytest.raises(DataError, match="nothing in it was run"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
@pytest.mark.parametrize("content", [b"<html>", b"hello world", b"", None])
def test_damage_is_told_without_advice_to_run_it(
    tmp_path: Path, root: Path, content: bytes | None
) -> None:
    path = tmp_path / "model.ckpt"
    if content is None:
        torch.save({"weight": torch.ones(1)}, path, pickle_protocol=4)
    else:
        path.write_bytes(content)
    text = refused(path, root, "damaged, truncated or not a file of torch.save")
    assert "weights_only" not in text and "PyTorch 2.6" not in text and "operand" not in text


def test_architecture_that_the_yaml_states_is_not_guessed(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"weight": torch.zeros(1)}, path)
    config = {"model": {"num_bands": 60}, "training": {"model_type": "swin_upernet"}}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(
        ConfigError, match=r"training\.model_type: 'swin_upernet' is not importable"
    ):
        import_source(str(path), root)
    assert read_checkpoint(path, Hints(kind="scnet")).translator == "msst/scnet"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['touch {trace}']", "yaml of plain values"),
        ("model: !!python/name:os.system", "yaml of plain values"),
        ("model: [unclosed", "yaml of plain values"),
        ("model: !!python/tuple {{a: 1}}", "yaml of plain values"),
        ("- a\n- list", "not a mapping"),
        ("\x00", "yaml of plain values"),
    ],
)
def test_wrong_yaml(tmp_path: Path, root: Path, text: str, message: str) -> None:
    trace = tmp_path / "trace"
    path, config = tmp_path / "model.ckpt", tmp_path / "model.yaml"
    torch.save({"weight": torch.zeros(1)}, path)
    config.write_text(text.format(trace=trace))
    refused(path, root, message)
    refused(config, root, message)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no weights by name"),
        ({"optimizer": 1}, "'optimizer' is a int, not a weight"),
        ({"input_mean": 1, "output_scale": 1, "fc1.weight": 1, "fc3.weight": 1}, "give the folder"),
    ],
)
def test_no_model_in_it(tmp_path: Path, root: Path, content: Any, message: str) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    refused(path, root, message)


def test_our_own_release(save_demucs: Saver, root: Path, tmp_path: Path) -> None:
    (released,) = import_source(str(save_demucs()), root).paths
    with pytest.raises(DataError, match="a release of Stemgrid already; copy it"):
        import_source(str(released), tmp_path / "other")


def test_hostile_fraction(save_demucs: Saver, root: Path) -> None:
    class Hours:
        def __reduce__(self) -> tuple[Any, ...]:
            from fractions import Fraction

            return Fraction, ("1e999999999",)  # takes hours where it is evaluated

    path = save_demucs(edit=lambda content: content["kwargs"].update(segment=Hours()))
    refused(path, root, "not a plain fraction")


def test_folder_without_weights(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    refused(folder, root, "holds no <target>.pth")


def test_two_files_of_a_target(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "umx"
    folder.mkdir()
    torch.save({"weight": torch.zeros(1)}, folder / "vocals.pth")
    digest = hashlib.sha256((folder / "vocals.pth").read_bytes()).hexdigest()[:8]
    (folder / f"vocals-{digest}.pth").write_bytes((folder / "vocals.pth").read_bytes())
    refused(folder, root, "are both weights of 'vocals'")


def test_yaml_beside_a_demucs_file_is_no_way_around(save_demucs: Saver, root: Path) -> None:
    path = save_demucs(edit=lambda content: content["state"].clear())
    config = path.with_name("x.yaml")
    config.write_text(yaml.safe_dump({"model": "hdemucs"}))
    refused(path, root, "holds no weights", hints=Hints(config=config))
