"""Exported networks on the disk: made once, whole, and only used where they agree with torch."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_separator import SPEC, ToyConfig, ToySeparator

from mss.core.errors import ConfigError, DataError
from mss.core.separator import Separator
from mss.core.types import AudioSpec
from mss.infer.backends import openvino
from mss.infer.backends import store as stores
from mss.infer.backends.exported import Network, agreement_db, exported_chunk_fn
from mss.infer.backends.store import About, ExportStore, choose_precision, model_digest
from mss.infer.separate import model_chunk_fn

FRAMES = 500


@pytest.fixture
def model() -> ToySeparator:
    return ToySeparator().eval()


@pytest.fixture
def store(tmp_path: Path) -> ExportStore:
    return ExportStore(tmp_path / "repo" / ".exported")


class FakeRuntime:
    """In the place of the exporter: writes a file, and runs torch's network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
        self._log = log
        self._model: Separator | None = None
        self.seconds = 0.0
        self.fault: BaseException | None = None
        self.change: Callable[[Tensor, str], Tensor] = lambda output, precision: output
        log.touch()
        monkeypatch.setattr(openvino, "export", self._export)
        monkeypatch.setattr(openvino, "load", self._load)

    @property
    def exports(self) -> int:
        """How often it exported, in whatever process."""
        return len(self._log.read_text())

    def _export(self, model: Separator, inputs: tuple[Tensor, ...], folder: Path) -> None:
        with self._log.open("a") as log:
            log.write("x")
        self._model = model
        (folder / openvino.GRAPH).write_text("half")
        time.sleep(self.seconds)
        if self.fault is not None:
            raise self.fault
        (folder / openvino.GRAPH).write_text("a graph")

    def _load(self, folder: Path, threads: int, streams: int, precision: str) -> Network:
        assert (folder / openvino.GRAPH).read_text() == "a graph"
        model = self._model
        assert model is not None
        return lambda inputs: tuple(self.change(out, precision) for out in model.network(*inputs))


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuntime:
    return FakeRuntime(monkeypatch, tmp_path / "exports")


def content(store: ExportStore) -> dict[str, bytes]:
    """All files but the locks."""
    return {
        path.relative_to(store.root).as_posix(): path.read_bytes()
        for path in sorted(store.root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def folders(store: ExportStore) -> list[str]:
    return [path.name for path in store.root.iterdir() if path.is_dir()]


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_a_real_export_is_read_back(
    backend: Any, store: ExportStore, model: ToySeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches, and by a process that has not made it."""
    folder, about = store.prepare(model, backend, 2, FRAMES)
    assert folder == store.folder(model, backend, 2, FRAMES)
    assert about.shapes == ((2, 2, FRAMES),)
    assert about.agreement_db.keys() == {"float32"}
    assert about.agreement_db["float32"] > 100
    assert about.seconds.keys() == {"torch", "float32"}
    assert min(about.seconds.values()) > 0
    assert folders(store) == [folder.name]
    assert set(about.files) == {path.name for path in folder.iterdir()} - {"about.json"}
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o755

    other = ExportStore(store.root)
    assert other.find(folder) == about
    mix = torch.randn(2, 2, FRAMES)
    expected = model_chunk_fn(model)(mix)
    monkeypatch.setattr(model, "network", None)
    found = other.chunk_fn(model, backend, folder, about, threads=1)(mix)
    assert agreement_db(expected, found) > 100


def test_made_once(store: ExportStore, model: ToySeparator, runtime: FakeRuntime) -> None:
    folder, about = store.prepare(model, "openvino", 1, FRAMES)
    before = content(store)
    assert runtime.exports == 1
    assert store.prepare(model, "openvino", 1, FRAMES) == (folder, about)
    assert ExportStore(store.root).prepare(ToySeparator().eval(), "openvino", 1, FRAMES) == (
        folder,
        about,
    )
    assert runtime.exports == 1
    assert content(store) == before


def nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one byte": lambda folder: (folder / openvino.GRAPH).write_text("a grapf"),
    "truncated": lambda folder: os.truncate(folder / openvino.GRAPH, 3),
    "no graph": lambda folder: (folder / openvino.GRAPH).unlink(),
    "no about": lambda folder: (folder / "about.json").unlink(),
    "empty about": lambda folder: (folder / "about.json").write_text(""),
    "cut about": lambda folder: os.truncate(folder / "about.json", 40),
    "no text": lambda folder: (folder / "about.json").write_bytes(b"\xff\xfe\x00"),
    "a number": lambda folder: (folder / "about.json").write_text("5"),
    "a list": lambda folder: (folder / "about.json").write_text("[]"),
    "lists": lambda folder: (folder / "about.json").write_text(
        '{"shapes": [], "files": [], "agreement_db": [], "seconds": []}'
    ),
    "other keys": lambda folder: (folder / "about.json").write_text('{"shapes": []}'),
    "nothing": nothing,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_damaged_is_exported_anew(
    damage: str, store: ExportStore, model: ToySeparator, runtime: FakeRuntime
) -> None:
    folder, _ = store.prepare(model, "openvino", 1, FRAMES)
    whole = content(store).keys()
    DAMAGES[damage](folder)
    assert store.find(folder) is None
    again, about = store.prepare(model, "openvino", 1, FRAMES)
    assert (again, runtime.exports) == (folder, 2)
    assert store.find(folder) == about
    assert content(store).keys() == whole
    assert folders(store) == [folder.name]


@pytest.mark.parametrize("fault", [ConfigError("no such layer"), KeyboardInterrupt()])
def test_nothing_is_left_of_an_export_that_failed(
    fault: BaseException, store: ExportStore, model: ToySeparator, runtime: FakeRuntime
) -> None:
    runtime.fault = fault
    with pytest.raises(type(fault)):
        store.prepare(model, "openvino", 1, FRAMES)
    assert (content(store), folders(store)) == ({}, [])
    # and none is in the way of the next
    runtime.fault = None
    folder, about = store.prepare(model, "openvino", 1, FRAMES)
    assert store.find(folder) == about


def test_a_full_disk_is_the_users_to_mend(
    store: ExportStore, model: ToySeparator, runtime: FakeRuntime
) -> None:
    runtime.fault = OSError(28, "No space left on device")
    with pytest.raises(DataError, match=r"\.exported: .*No space left on device.*--backend torch"):
        store.prepare(model, "openvino", 1, FRAMES)
    assert folders(store) == []


def test_a_root_that_can_not_be_made(
    model: ToySeparator, runtime: FakeRuntime, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="check the permissions"):
        ExportStore(tmp_path / "file" / ".exported").prepare(model, "openvino", 1, FRAMES)
    assert runtime.exports == 0


def test_threads_that_prepare_at_once_export_once(
    store: ExportStore, model: ToySeparator, runtime: FakeRuntime
) -> None:
    runtime.seconds = 0.3
    got: list[tuple[Path, About]] = []
    start = threading.Barrier(4)

    def prepare() -> None:
        start.wait()
        got.append(ExportStore(store.root).prepare(model, "openvino", 1, FRAMES))

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runtime.exports == 1
    assert len(got) == 4
    assert all(other == got[0] for other in got)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the fake runtime is handed on by fork")
def test_processes_that_prepare_at_once_export_once(
    store: ExportStore, model: ToySeparator, runtime: FakeRuntime
) -> None:
    runtime.seconds = 0.5
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=store.prepare, args=(model, "openvino", 1, FRAMES)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert runtime.exports == 1
    assert len(folders(store)) == 1


def test_the_name_of_a_folder_tells_all_that_matters(
    store: ExportStore, model: ToySeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(of: Separator = model, batch: int = 1, frames: int = FRAMES) -> str:
        return store.folder(of, "openvino", batch, frames).name

    first = key()
    assert first == key(ToySeparator().eval())
    renamed = ToySeparator(spec=AudioSpec(("other", "vocals"), samplerate=1000))
    keys = {
        first,
        key(batch=2),
        key(frames=FRAMES + 1),
        key(ToySeparator(ToyConfig(gain=0.5))),
        key(renamed),
        store.folder(model, "onnx", 1, FRAMES).name,
    }
    with torch.no_grad():
        model.convolution.bias[0] += 1e-6
    keys.add(key())
    monkeypatch.setattr(openvino, "version", lambda: "2099.1")
    keys.add(key())
    monkeypatch.setattr(stores, "FORM", stores.FORM + 1)
    keys.add(key())
    assert len(keys) == 9


def test_weights_of_every_kind_have_a_digest() -> None:
    model = ToySeparator()
    digests = {model_digest(model)}
    model.register_buffer("flag", torch.tensor(True))
    digests.add(model_digest(model))
    model.register_buffer("flag", torch.tensor(False))
    digests.add(model_digest(model))
    model.register_buffer("empty", torch.empty(0, dtype=torch.bfloat16))
    digests.add(model_digest(model))
    model.register_buffer("empty", torch.empty(2, 3, dtype=torch.bfloat16).t().zero_())
    digests.add(model_digest(model))
    assert len(digests) == 5


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "a thousandth": lambda output: output * 1.001,
    "NaN": lambda output: output * float("nan"),
    "silence": torch.zeros_like,
    "swapped": lambda output: output.flip(1),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_numbers_are_refused(
    wrong: str, store: ExportStore, model: ToySeparator, runtime: FakeRuntime
) -> None:
    runtime.change = lambda output, precision: WRONG[wrong](output)
    with pytest.raises(ConfigError, match="ToySeparator through openvino agrees with torch to"):
        store.prepare(model, "openvino", 1, FRAMES)
    assert folders(store) == []
    # a 20 000th is the order of sums
    runtime.change = lambda output, precision: output * 1.00005
    _, about = store.prepare(model, "openvino", 1, FRAMES)
    assert about.agreement_db["float32"] == pytest.approx(86.0, abs=0.5)


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_numbers_in_bf16_only_cost_bf16(
    wrong: str,
    store: ExportStore,
    model: ToySeparator,
    runtime: FakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ToySeparator, "rounded_modules", ("convolution",))
    monkeypatch.setattr(openvino, "has_bf16", lambda: True)
    runtime.change = lambda output, precision: (
        WRONG[wrong](output) if precision == "bf16" else output
    )
    folder, about = store.prepare(model, "openvino", 1, FRAMES)
    assert about.agreement_db["float32"] == 300  # equal; JSON knows no infinity
    quick = replace(about, seconds={"torch": 3.0, "float32": 2.0, "bf16": 1.0})
    expected = "bf16" if wrong == "a thousandth" else "float32"  # that is 60 dB
    assert choose_precision(quick) == expected
    assert store.find(folder) == about


def test_bf16_is_measured_where_the_model_and_the_cpu_have_it(
    model: ToySeparator,
    store: ExportStore,
    runtime: FakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = []
    for frames, (modules, cpu) in enumerate(
        [((), True), (("convolution",), False), (("convolution",), True)], start=FRAMES
    ):
        monkeypatch.setattr(ToySeparator, "rounded_modules", modules)
        monkeypatch.setattr(openvino, "has_bf16", lambda cpu=cpu: cpu)
        measured.append("bf16" in store.prepare(model, "openvino", 1, frames)[1].seconds)
    assert measured == [False, False, True]


@pytest.mark.parametrize(
    ("db", "seconds", "cpu", "expected"),
    [
        (55.0, 1.0, True, "bf16"),
        (54.9, 1.0, True, "float32"),
        (80.0, 2.0, True, "float32"),  # not faster
        (80.0, 1.0, False, "float32"),  # exported on another machine
        (None, None, True, "float32"),
    ],
)
def test_bf16_where_agreement_and_speed_say_so(
    db: float | None,
    seconds: float | None,
    cpu: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino, "has_bf16", lambda: cpu)
    about = About((), {}, {"float32": 110.0}, {"torch": 3.0, "float32": 2.0})
    if db is not None and seconds is not None:
        about.agreement_db["bf16"], about.seconds["bf16"] = db, seconds
    assert choose_precision(about) == expected


def test_the_runtime_is_started_when_it_is_needed_first(model: ToySeparator) -> None:
    """Once, though threads ask for it together."""
    started = 0

    def load() -> Network:
        nonlocal started
        started += 1
        time.sleep(0.05)
        return lambda inputs: model.network(*inputs)

    chunk_fn = exported_chunk_fn(model, load, ((1, 2, FRAMES),))
    chunk_fn(torch.randn(1, 2, FRAMES - 1))
    chunk_fn(torch.randn(2, 2, FRAMES))
    assert started == 0
    mix = torch.randn(1, 2, FRAMES)
    got: list[Tensor] = []
    threads = [threading.Thread(target=lambda: got.append(chunk_fn(mix))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started == 1
    assert len(got) == 4
    expected = model_chunk_fn(model)(mix)
    assert all(torch.equal(result, expected) for result in got)


def test_threads_share_one_network_and_not_their_results(
    store: ExportStore, model: ToySeparator
) -> None:
    """Each has the runtime write to memory of its own."""
    folder, about = store.prepare(model, "openvino", 1, FRAMES)
    chunk_fn = store.chunk_fn(model, "openvino", folder, about, threads=2, streams=2)
    mixes = [torch.randn(1, 2, FRAMES) for _ in range(4)]
    expected = [chunk_fn(mix) for mix in mixes]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(50):
            if not torch.equal(chunk_fn(mixes[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_a_runtime_can_not_take_over(store: ExportStore) -> None:
    class Unheard(ToySeparator):
        def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            wave = self.convolution(inputs[0])
            return (wave * torch.linalg.eigvalsh(wave @ wave.mT)[..., None],)

    for backend in ("openvino", "onnx"):
        with pytest.raises(ConfigError, match=r"can't take Unheard over \(.+\); use torch"):
            store.prepare(Unheard().eval(), backend, 1, FRAMES)  # type: ignore[arg-type]
    assert folders(store) == []


@pytest.mark.parametrize("package", ["openvino", "onnxruntime"])
def test_a_runtime_that_is_not_installed(
    package: str, store: ExportStore, model: ToySeparator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    backend: Any = "openvino" if package == "openvino" else "onnx"
    with pytest.raises(ConfigError, match=f"pip install {package}, or use torch"):
        store.prepare(model, backend, 1, FRAMES)


def test_about_is_plain_json(store: ExportStore, model: ToySeparator, runtime: FakeRuntime) -> None:
    folder, _ = store.prepare(model, "openvino", 1, FRAMES)
    raw = json.loads((folder / "about.json").read_text())
    assert raw.keys() == {"shapes", "files", "agreement_db", "seconds"}
    assert raw["shapes"] == [[1, SPEC.channels, FRAMES]]
    assert raw["files"].keys() == {openvino.GRAPH}
