"""From options to an engine: which backend runs, and that it changes no result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_release import SPEC
from torch import Tensor

from mss.api import engines, exporting
from mss.api.engines import WORTH_EXPORTING, EngineBuilder, Work
from mss.api.exporting import ExportJob, export_store
from mss.api.inputs import Found
from mss.api.options import OutputOptions, SeparationOptions
from mss.api.separator import SongSeparator
from mss.core import registry
from mss.core.audio_io import write_audio
from mss.core.errors import ConfigError
from mss.infer.backends.store import ExportStore
from mss.infer.engine import Engine
from mss.release.package import save_package
from mss.release.repo import Repo

CPU = torch.device("cpu")
BASE = SeparationOptions(segment=Fraction(1, 4), batch_size=1, threads=1)
FRAMES = 2000


def export_here(job: ExportJob) -> None:
    """What the process would do."""
    assert exporting.main([json.dumps(job.__dict__)]) == 0


def copy_with_a_bag(released: Path, root: Path) -> Path:
    """Copy the releases; add a bag of two models that are exported quickly."""
    shutil.copytree(released, root)
    repo = Repo(root)
    torch.manual_seed(3)
    model = registry.resolve("model", "spleeter").tiny(SPEC)
    path = save_package(model, root, arch="spleeter", signature="cccc4444", scores={})
    members = f"{repo.load('openunmix').name}, {repo.add(path).name}"
    (root / "quick.yaml").write_text(f"members: [{members}]\n")
    return root


@pytest.fixture(scope="module")
def repo(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks are exported beside these."""
    return copy_with_a_bag(released, tmp_path_factory.mktemp("exported") / "repo")


@pytest.fixture
def builder(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., EngineBuilder]:
    monkeypatch.setattr(engines, "run_export", export_here)

    def make(
        name: str = "openunmix", device: torch.device = CPU, where: Path = repo, **options: Any
    ) -> EngineBuilder:
        release = Repo(where).load(name)
        return EngineBuilder(release, replace(BASE, **options), device, where)

    return make


@pytest.fixture
def bare(released: Path, tmp_path: Path) -> Path:
    """Released models with nothing exported."""
    return copy_with_a_bag(released, tmp_path / "bare")


def run(engine: Engine, mix: Tensor, rate: int = 8000) -> Tensor:
    first_pass, facts = engine.first_pass(rate, mix.shape[0]), ()
    if first_pass is not None:
        first_pass.feed(mix)
        facts = first_pass.finish()
    session = engine.session(rate, mix.shape[0], facts)
    return torch.cat([session.feed(mix), session.flush()], dim=-1)


def noise(length: int = 7321) -> Tensor:
    return 0.1 * torch.randn(2, length, generator=torch.Generator().manual_seed(length))


def tell_seconds(repo: Path, torch_seconds: float, ours: float) -> None:
    """Rewrite what was measured when networks were exported."""
    for path in export_store(repo).root.glob("*/about.json"):
        about = json.loads(path.read_text())
        about["seconds"] = dict.fromkeys(about["seconds"], ours) | {"torch": torch_seconds}
        path.write_text(json.dumps(about))


def test_auto_is_torch_where_nothing_is_exported(
    builder: Callable[..., EngineBuilder], bare: Path
) -> None:
    assert builder(where=bare).build().backend == "torch float32"


@pytest.mark.parametrize(
    ("torch_seconds", "ours", "expected"),
    [
        (2.0, 1.0, "openvino float32"),
        (1.0, 1.0, "torch float32"),  # not worth another path
        (1.0, 2.0, "torch float32"),
    ],
)
def test_auto_takes_exported_networks_that_are_faster(
    builder: Callable[..., EngineBuilder],
    repo: Path,
    torch_seconds: float,
    ours: float,
    expected: str,
) -> None:
    builder(backend="openvino")
    tell_seconds(repo, torch_seconds, ours)
    assert builder().build().backend == expected
    # asked for by name, it is taken whatever it takes
    assert builder(backend="openvino").build().backend == "openvino float32"
    assert builder(backend="torch").build().backend == "torch float32"


def test_networks_of_other_chunks_are_not_taken(
    builder: Callable[..., EngineBuilder], repo: Path
) -> None:
    builder(backend="openvino")
    tell_seconds(repo, 2.0, 1.0)
    assert builder().build().backend == "openvino float32"
    for other in ({"segment": Fraction(1, 5)}, {"batch_size": 2}, {"segment": "whole"}):
        assert builder(**other).build().backend == "torch float32", other


def test_damaged_networks_are_not_taken(
    builder: Callable[..., EngineBuilder], repo: Path, bare: Path
) -> None:
    builder(backend="openvino")
    shutil.copytree(export_store(repo).root, export_store(bare).root)
    tell_seconds(bare, 2.0, 1.0)
    assert builder(where=bare).build().backend == "openvino float32"
    for graph in export_store(bare).root.glob("*/*.bin"):
        graph.write_bytes(graph.read_bytes()[:-1])
    assert builder(where=bare).build().backend == "torch float32"


def test_by_name_what_is_missing_is_exported_once(
    builder: Callable[..., EngineBuilder], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[ExportJob] = []

    def count(job: ExportJob) -> None:
        jobs.append(job)
        export_here(job)

    monkeypatch.setattr(engines, "run_export", count)
    for _ in range(2):
        assert builder(where=bare, backend="openvino").build().backend == "openvino float32"
    [job] = jobs
    assert (job.repo, job.sources, job.batch, job.frames) == (str(bare), (), 1, FRAMES)


def test_when_exporting_is_worth_it(builder: Callable[..., EngineBuilder], bare: Path) -> None:
    long, short = Work(WORTH_EXPORTING), Work(WORTH_EXPORTING - 1)
    assert builder(where=bare).worth_exporting(long) == "openvino"
    assert builder(where=bare).worth_exporting(short) is None
    for options in ({"backend": "torch"}, {"segment": "whole"}):
        assert builder(where=bare, **options).worth_exporting(long) is None
    builder(backend="openvino")
    assert builder().worth_exporting(long) is None


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_what_a_backend_can_not_do(
    builder: Callable[..., EngineBuilder], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "run_export", lambda job: pytest.fail("exported in vain"))
    with pytest.raises(ConfigError, match="chunks of one length; give a segment"):
        builder(backend=backend, segment="whole")
    with pytest.raises(ConfigError, match="runs on the CPU; give --device cpu, or torch"):
        builder(backend=backend, device=torch.device("cuda:1"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stems": ("vocals",)},
        {"stems": ("vocals", "drums")},
        {"two_stems": "vocals"},
        {"shifts": 2, "overlap": 0.5},
    ],
    ids=["all", "one", "other order", "two stems", "shifts"],
)
def test_the_backend_changes_no_stem(
    builder: Callable[..., EngineBuilder], options: dict[str, Any]
) -> None:
    ours = builder(backend="openvino", **options).build().engine
    theirs = builder(backend="torch", **options).build().engine
    assert ours.sources == theirs.sources
    mix = noise()
    found, expected = run(ours, mix), run(theirs, mix)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert not torch.equal(found, expected), "torch ran both"


def test_a_bag_of_exported_networks(builder: Callable[..., EngineBuilder]) -> None:
    built = builder("quick", backend="openvino").build()
    assert built.backend == "openvino float32"
    mix = noise()
    expected = run(builder("quick", backend="torch").build().engine, mix)
    torch.testing.assert_close(run(built.engine, mix), expected, atol=1e-5, rtol=0)


def test_a_bag_lacks_one_network(builder: Callable[..., EngineBuilder], bare: Path) -> None:
    """Then it is torch's as a whole."""
    release = Repo(bare).load("quick")
    store: ExportStore = export_store(bare)
    store.prepare(release.members[0], "openvino", 1, FRAMES)
    tell_seconds(bare, 2.0, 1.0)
    assert builder("quick", where=bare).build().backend == "torch float32"


def test_songs_at_once_share_one_network(
    builder: Callable[..., EngineBuilder],
    repo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With two threads for two songs each gets what it gets alone with one, bit by bit."""
    from mss.infer.backends import openvino

    builder(backend="openvino")
    songs = tmp_path / "songs"
    songs.mkdir()
    for index in range(4):
        write_audio(songs / f"{index}.wav", noise(9000 + index), 8000, "PCM_24")
    loads: list[tuple[int, int]] = []
    real = openvino.load

    def load(folder: Path, threads: int, streams: int, *rest: Any) -> Any:
        loads.append((threads, streams))
        return real(folder, threads, streams, *rest)

    monkeypatch.setattr(openvino, "load", load)
    made = []
    for jobs in (1, 2):
        options = replace(BASE, backend="openvino", threads=jobs)
        separator = SongSeparator("openunmix", repo, "cpu", options)
        out = tmp_path / f"out {jobs}"
        separator.separate_to(songs, out, OutputOptions("wav32"), jobs=jobs)
        made.append({p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*.wav"))})
    assert loads == [(1, 1), (2, 2)]
    assert len(made[0]) == 8
    assert made[0] == made[1]


def test_weights_are_read_once_for_each_runtime(
    bare: Path, builder: Callable[..., EngineBuilder], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = engines.find_exported

    def find(store: ExportStore, members: Any, backend: Any, batch: int, frames: int) -> Any:
        looked.append(backend)
        return real(store, members, backend, batch, frames)

    monkeypatch.setattr(engines, "find_exported", find)
    made = builder(where=bare)
    for _ in range(2):
        made.build()
        made.worth_exporting(Work(WORTH_EXPORTING))
    assert len(looked) == len(set(looked)) > 0


def test_compiling_is_torchs(builder: Callable[..., EngineBuilder]) -> None:
    with pytest.raises(ConfigError, match="compile"):
        builder(backend="openvino", compile=True)


def test_no_song_at_once_is_refused(released: Path, tmp_path: Path) -> None:
    separator = SongSeparator("openunmix", released, "cpu", BASE)
    with pytest.raises(ConfigError, match="jobs"):
        separator.run(Found(), tmp_path, jobs=0)
