"""One released model in one file: what is written, what is read back, what is refused."""

import hashlib
import io
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mss
from mss.core import registry
from mss.core.errors import ConfigError, DataError
from mss.core.files import file_sha256
from mss.core.types import AudioSpec, InferenceDefaults
from mss.release import package
from mss.release.container import read_header, verify_package
from mss.release.package import load_package, save_package

FACTS: dict[str, Any] = {
    "provenance": {"data": {"name": "demo", "tracks": 24}, "epochs": 3},
    "scores": {"nsdr/demo/test": {"drums": 3.25, "vocals": None, "mean": 3.25}},
    "licence": "MIT",
    "created": "2025-01-02T03:04:05+00:00",
}


@pytest.fixture
def saved(toy: Any, tmp_path: Path) -> Path:
    return save_package(toy, tmp_path / "repo", arch="toy", signature="1a2b3c4d", **FACTS)


def outputs(model: torch.nn.Module) -> torch.Tensor:
    noise = torch.randn(2, 2, 801, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wave: torch.Tensor = model(noise).wave
    return wave


def test_round_trip_is_bit_equal(toy: Any, saved: Path) -> None:
    model, header = load_package(saved)
    assert type(model) is type(toy)
    assert not model.training
    assert model.config == toy.config
    assert model.spec == toy.spec
    state = model.state_dict()
    assert list(state) == list(toy.state_dict())
    for name, value in toy.state_dict().items():
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value)
    assert torch.equal(outputs(model), outputs(toy.eval()))
    assert header.inference == InferenceDefaults(
        toy.config.segment, overlap=0.5, normalise="file_mono_std"
    )
    assert header.parameters == 2 * 4 + 4 + 4 * 4 + 4
    assert header.version == mss.__version__
    for key, value in FACTS.items():
        assert getattr(header, key) == value


def test_name_carries_architecture_signature_and_hash(saved: Path) -> None:
    sha256 = hashlib.sha256(saved.read_bytes()).hexdigest()
    assert saved.name == f"toy-1a2b3c4d-{sha256[:8]}.safetensors"
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]  # no leftovers


def test_header_is_plain_json_that_needs_no_weights(saved: Path) -> None:
    with_weights = saved.read_bytes()
    header = read_header(saved)
    assert (header.arch, header.signature) == ("toy", "1a2b3c4d")
    assert header.config == {"segment": "39/5", "hidden": 4, "shape": "plain"}
    assert header.spec == AudioSpec(("drums", "vocals"), 8000, 2)
    # Damage in the weights does not keep one from reading what the file is.
    saved.write_bytes(with_weights[:-1] + bytes([with_weights[-1] ^ 1]))
    assert read_header(saved) == header


def test_equal_runs_give_equal_files(toy: Any, saved: Path, tmp_path: Path) -> None:
    again = save_package(toy, tmp_path / "other", arch="toy", signature="1a2b3c4d", **FACTS)
    assert again.name == saved.name
    assert again.read_bytes() == saved.read_bytes()
    facts = FACTS | {"provenance": {"epochs": 4}}
    other = save_package(toy, tmp_path / "other", arch="toy", signature="1a2b3c4d", **facts)
    assert other.name != saved.name


def test_stated_inference_defaults_are_released(toy: Any, tmp_path: Path) -> None:
    stated = InferenceDefaults(segment=None, overlap=0.1, window="hann")
    path = save_package(toy, tmp_path, arch="toy", signature="s", inference=stated)
    assert load_package(path)[1].inference == stated


def test_mode_and_random_state_are_left_alone(toy: Any, tmp_path: Path) -> None:
    toy.train()
    toy.decode.eval()
    before = torch.get_rng_state()
    load_package(save_package(toy, tmp_path, arch="toy", signature="s"))
    assert torch.equal(torch.get_rng_state(), before)
    assert toy.training
    assert toy.encode.training
    assert not toy.decode.training


@pytest.mark.parametrize("shape", ["tied", "strided"])
def test_shared_and_strided_tensors(make_toy: Any, tmp_path: Path, shape: str) -> None:
    toy = make_toy(shape=shape)
    assert shape == "tied" or not toy.encode.weight.is_contiguous()
    model, _ = load_package(save_package(toy, tmp_path, arch="toy", signature="s"))
    assert torch.equal(outputs(model), outputs(toy.eval()))
    if shape == "tied":
        assert model.again is model.encode
    else:
        assert model.state_dict()["view"].tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("arch", registry.names("model", plugins=False))
def test_every_built_in_model_is_released_whole(arch: str, tmp_path: Path) -> None:
    spec = AudioSpec(("vocals", "rest"), samplerate=16000, channels=2)
    model = registry.resolve("model", arch).tiny(spec).eval()
    loaded, header = load_package(save_package(model, tmp_path, arch=arch, signature="s"))
    assert loaded.config == model.config
    assert header.inference == model.inference
    assert torch.equal(outputs(loaded), outputs(model))


# --- what is not released ---


def test_model_that_its_config_does_not_tell_is_refused(make_toy: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives another output"):
        save_package(make_toy(arch="forgetful"), tmp_path, arch="forgetful", signature="s")
    assert list(tmp_path.iterdir()) == []


def test_wrong_architecture_name_is_refused(toy: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'forgetful' is registered for another class than Toy"):
        save_package(toy, tmp_path, arch="forgetful", signature="s")


def test_nan_weights_are_refused(toy: Any, tmp_path: Path) -> None:
    with torch.no_grad():
        toy.decode.bias[1] = float("nan")
    with pytest.raises(ConfigError, match=r"decode\.bias: holds NaN"):
        save_package(toy, tmp_path, arch="toy", signature="s")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"scores": {"nsdr": {"vocals": float("nan")}}}, "scores: .*null"),
        ({"provenance": {"root": Path("data")}}, "provenance: "),
        ({"signature": "../escape"}, "signature: .*file's name"),
    ],
)
def test_facts_that_json_or_a_name_can_not_hold(
    toy: Any, tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        save_package(toy, tmp_path / "repo", **({"arch": "toy", "signature": "s"} | facts))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_failure_in_the_middle_leaves_the_old_file(
    toy: Any, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(package, "_compare_with_file", fail)
    for seed_change in (0.0, 1.0):  # the same file again, and another one
        with torch.no_grad():
            toy.decode.bias += seed_change
        with pytest.raises(KeyboardInterrupt):
            save_package(toy, saved.parent, arch="toy", signature="1a2b3c4d", **FACTS)
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]
        assert saved.read_bytes() == before


# --- what is not loaded ---


def refusal(path: Path, **options: Any) -> str:
    """Return the message with which a file is refused, after the file's name."""
    with pytest.raises(DataError) as caught:
        load_package(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_every_flipped_byte_is_found(saved: Path) -> None:
    content = saved.read_bytes()
    sha256 = file_sha256(saved)
    renamed = saved.with_name("renamed.safetensors")
    data_start = 8 + int.from_bytes(content[:8], "little")
    padding = {
        position
        for position in range(8, data_start)
        if content[position:data_start].strip(b" ") == b""
    }
    for position in range(0, len(content), 3):  # and each of the eight bits in turn
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        saved.write_bytes(damaged)
        refusal(saved)
        refusal(saved, sha256=sha256)
        if position not in padding:  # means nothing, so the content's digest leaves it out
            renamed.write_bytes(damaged)
            refusal(renamed)


def test_flipped_weight_names_the_fault_and_the_remedy(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 0x80
    saved.write_bytes(content)
    assert re.search(
        "damaged or changed: .* its name says; fetch the file or export", refusal(saved)
    )
    with pytest.raises(DataError, match="damaged"):
        verify_package(saved)
    renamed = saved.rename(saved.with_name("renamed.safetensors"))
    assert "does not match the SHA-256 in its header" in refusal(renamed)


def test_other_file_than_the_index_lists(saved: Path) -> None:
    message = refusal(saved, sha256="0" * 64)
    assert "not with '00000000' as the index says" in message


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1])
def test_truncated_file(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    message = refusal(saved)
    assert "damaged, truncated or not safetensors" in message
    assert "fetch the file" in message


def test_missing_file(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "nothing.safetensors")


class Payload:
    """Runs code when it is unpickled: makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["pickle2", "pickle5", "torch", "torch_legacy"])
def test_pickle_inside_is_never_opened(tmp_path: Path, kind: str) -> None:
    trap = tmp_path / "executed"
    path = tmp_path / "toy-1a2b3c4d-00000000.safetensors"
    if kind.startswith("pickle"):
        path.write_bytes(pickle.dumps(Payload(trap), protocol=int(kind[-1])))
    else:
        torch.save(Payload(trap), path, _use_new_zipfile_serialization=not kind.endswith("legacy"))
    message = refusal(path)
    assert "pickle" in message
    assert "not opened" in message
    assert not trap.exists()
    # The trap is a real one: a program that unpickles falls into it.
    if kind.startswith("torch"):
        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert trap.is_dir()


def test_safetensors_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    assert "not a Stemgrid release" in refusal(path)
    save_file({"weight": torch.zeros(2)}, path, metadata={"stemgrid": "[1]"})
    assert "not a mapping" in refusal(path)
    save_file({"weight": torch.zeros(2)}, path, metadata={"stemgrid": "[" * 100_000})
    assert "not JSON" in refusal(path)


def test_truncated_file_whose_length_looks_like_a_pickle(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(b"\x80\x04\0\0\0\0\0\0{" + b" " * 100)
    assert refusal(path).startswith("damaged, truncated")


def test_unknown_architecture_points_at_plugins(saved: Path, rewrite: Any) -> None:
    def edit(plain: dict[str, Any], tensors: Any) -> None:
        plain["arch"] = "hdemucz"

    path = rewrite(saved, edit)
    message = refusal(path)
    assert "no model named 'hdemucz'. Did you mean 'hdemucs'?" in message
    assert "allow plug-ins" in message
    assert "allow plug-ins" not in refusal(path, plugins=True)


def test_architecture_is_no_import_path(saved: Path, rewrite: Any) -> None:
    def edit(plain: dict[str, Any], tensors: Any) -> None:
        plain["arch"] = "os.path"

    assert "no model named 'os.path'" in refusal(rewrite(saved, edit))


def test_plugin_is_resolved_only_when_told(
    toy: Any, saved: Path, rewrite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        name = "plugged"

        def load(self) -> type:
            return type(toy)

    monkeypatch.setattr(
        "mss.core.registry.entry_points",
        lambda group: [Entry()] if group == "stemgrid.model" else [],
    )

    def edit(plain: dict[str, Any], tensors: Any) -> None:
        plain["arch"] = "plugged"

    path = rewrite(saved, edit)
    assert "no model named 'plugged'" in refusal(path)
    model, header = load_package(path, plugins=True)
    assert header.arch == "plugged"
    assert torch.equal(outputs(model), outputs(toy.eval()))


def set_key(key: str, value: Any) -> Callable[[dict[str, Any], Any], None]:
    """Return an edit that sets "a.b" of a header."""

    def edit(plain: dict[str, Any], tensors: Any) -> None:
        *folders, last = key.split(".")
        for folder in folders:
            plain = plain[folder]
        plain[last] = value

    return edit


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", 2, "written in schema 2 by a newer Stemgrid .*: upgrade stemgrid"),
        ("schema", "1", "no valid schema"),
        ("licens", "MIT", r"header\.licens: .* Did you mean 'licence'\?"),
        ("signature", "a/b", "signature: 'a/b' can't be part of a file's name"),
        ("config.hiden", 4, r"config of toy\.hiden: .* Did you mean 'hidden'\?"),
        ("config.hidden", "many", r"config of toy\.hidden: "),
        ("config.hidden", -1, "does not build a toy"),
        ("config.segment", "0/0", r"config of toy\.segment: "),
        ("config", [], r"header\.config: "),
        ("spec.sources", ["../up"], "sources: '../up' can't be a file's name"),
        ("spec.rate", 8000, r"header\.spec\.rate: there is no such key"),
        ("spec", None, r"header\.spec: "),
        ("inference.window", "kaiser", r"header\.inference\.window: "),
        ("inference.overlap", 2, "overlap: 2.0 is not in"),
    ],
)
def test_faults_of_the_header(
    saved: Path, rewrite: Any, key: str, value: Any, message: str
) -> None:
    assert re.search(message, refusal(rewrite(saved, set_key(key, value))))


def test_missing_key_of_the_header(saved: Path, rewrite: Any) -> None:
    def edit(plain: dict[str, Any], tensors: Any) -> None:
        del plain["spec"]

    assert "header.spec: this key is needed" in refusal(rewrite(saved, edit))


def test_weights_of_another_model(saved: Path, rewrite: Any) -> None:
    def drop(plain: Any, tensors: dict[str, Any]) -> None:
        del tensors["decode.bias"]

    def extra(plain: Any, tensors: dict[str, Any]) -> None:
        tensors["decode.extra"] = torch.zeros(1)

    def reshape(plain: Any, tensors: dict[str, Any]) -> None:
        tensors["encode.weight"] = tensors["encode.weight"].reshape(2, 4, 1)

    def retype(plain: Any, tensors: dict[str, Any]) -> None:
        tensors["scale"] = tensors["scale"].float()

    for edit, message in (
        (drop, "missing: decode.bias"),
        (extra, "unexpected: decode.extra"),
        (reshape, r"encode.weight is float32 [2, 4, 1], not float32 [4, 2, 1]"),
        (retype, "scale is float32 [], not float64 []"),
        (set_key("config.hidden", 5), "encode.weight is float32 [4, 2, 1], not float32 [5, 2, 1]"),
    ):
        found = refusal(rewrite(saved, edit))
        assert message in found
        assert "install that version or export the model again" in found


def test_renamed_file_still_loads(toy: Any, saved: Path) -> None:
    renamed = saved.rename(saved.with_name("my best model.safetensors"))
    assert torch.equal(outputs(load_package(renamed)[0]), outputs(toy.eval()))


def test_format_is_plain_safetensors(toy: Any, saved: Path) -> None:
    """Any reader of the format sees the weights and one JSON text."""
    tensors = load_file(saved)
    assert set(tensors) == set(toy.state_dict())
    content = saved.read_bytes()
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    assert list(metadata) == ["stemgrid"]
    assert json.loads(metadata["stemgrid"])["schema"] == 1
