"""Distillation from a released model."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from tiny_release import SPEC as RELEASED
from tiny_release import make_repo

from mss.core.errors import ConfigError, DataError
from mss.core.registry import resolve
from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, Batch, Progress
from mss.distill.references import References
from mss.distill.released import ReleasedTeacher, source_rows
from mss.distill.surroundings import Surroundings
from mss.distill.teacher import TeacherConfig, TeacherDistillation
from mss.infer.separate import separate
from mss.release.package import save_package
from mss.release.repo import Repo

STEMS = ("drums", "vocals")
FRAMES = 4000
AT = Progress(0, 3)


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_repo(tmp_path_factory.mktemp("teachers"))


@pytest.fixture(autouse=True)
def here(repo, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMGRID_REPO", str(repo))
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))


def surroundings(tmp_path, targets=None, stems=STEMS, spec=RELEASED, **changes):
    target_map = TargetMap.make(targets or {}, stems)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = resolve("model", "openunmix").tiny(
            AudioSpec(target_map.sources, spec.samplerate, spec.channels)
        )
    return Surroundings(model, target_map, stems, tmp_path, 8, FRAMES, **changes)


def batch_of(items=2, stems=STEMS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    waves = 0.1 * torch.randn(items, len(stems), 2, FRAMES, generator=generator)
    return Batch(waves.sum(dim=1), waves, stems, torch.ones(items, len(stems)))


def target_of(run, batch):
    return References(run.targets)(batch, None, AT)


def taught_by(name, mix):
    """The released model's estimates, each item separated by itself, as a recording."""
    release = Repo().load(name)
    from mss.infer.bag import bag_chunk_fn

    chunk_fn = bag_chunk_fn(release.members, release.weights)
    return torch.stack([separate(chunk_fn, release.spec, release.inference, x) for x in mix])


@pytest.mark.parametrize("name", ["bbbb2222", "both"])
def test_the_target_is_blended_with_what_the_release_gives_for_the_mix(tmp_path, name):
    run = surroundings(tmp_path)
    config = TeacherConfig(model=name, blend=0.25, blends={"vocals": 0.75})
    provider = TeacherDistillation(config, run)
    batch = batch_of()
    target = provider(batch, target_of(run, batch), AT)
    taught = taught_by(name, batch.mix)
    for source, share in enumerate((0.25, 0.75)):
        expected = (1 - share) * batch.stems[:, source] + share * taught[:, source]
        torch.testing.assert_close(target.sources[:, source], expected, rtol=1e-4, atol=1e-5)
    assert not target.sources.requires_grad


def test_a_source_of_which_nothing_is_known_stays_so(tmp_path):
    run = surroundings(tmp_path)
    batch = batch_of()
    batch.trust[1, 0] = 0
    config = TeacherConfig(model="bbbb2222", blend=0.5)
    target = TeacherDistillation(config, run)(batch, target_of(run, batch), AT)
    assert target.weight.tolist() == [[1, 1], [0, 1]]


def test_sources_go_by_name_or_by_the_stems_they_are_the_sum_of():
    targets = TargetMap.make({"vocals": ["vocals"], "rest": ["drums", "bass"]}, (*STEMS, "bass"))
    rows = source_rows(targets, ("bass", "vocals", "drums"))
    assert rows.tolist() == [[0, 1, 0], [1, 0, 1]]
    rows = source_rows(targets, ("vocals", "drums"))  # no bass: the rest is unknown to it
    assert rows.tolist() == [[1, 0], [0, 0]]


def test_a_sum_of_sources_is_taught_by_the_sum_of_the_estimates(tmp_path):
    run = surroundings(tmp_path, {"all": ["drums", "vocals"]})
    batch = batch_of()
    config = TeacherConfig(model="bbbb2222", blend=1.0)
    target = TeacherDistillation(config, run)(batch, target_of(run, batch), AT)
    expected = taught_by("bbbb2222", batch.mix).sum(dim=1, keepdim=True)
    torch.testing.assert_close(target.sources, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Releases whose last chunks are separated in different ways, and one that hears contexts."""
    root = tmp_path_factory.mktemp("families")
    with torch.random.fork_rng():
        for arch in ("htdemucs", "openunmix", "bs_roformer"):
            torch.manual_seed(0)
            model = resolve("model", arch).tiny(RELEASED)
            inference = replace(model.inference, segment=Fraction(1, 20))  # 400 samples
            if arch == "bs_roformer":
                inference = replace(inference, context=Fraction(1, 200), window="hann")
            signature = f"{arch[:2]}{len(arch):06d}"
            path = save_package(
                model, root, arch=arch, signature=signature, scores={}, inference=inference
            )
            Repo(root).add(path)
    return root


@pytest.mark.parametrize("arch", ["htdemucs", "openunmix", "bs_roformer"])
@pytest.mark.parametrize("frames", [170, 299, 340, 400, 401, 1000])
def test_an_item_of_any_length_is_separated_as_a_recording(
    tmp_path, monkeypatch, families, arch, frames
):
    """Shorter than the stride and the segment of 400 samples, as long, and longer."""
    monkeypatch.setenv("STEMGRID_REPO", str(families))
    name = f"{arch[:2]}{len(arch):06d}"
    assert (Repo().load(name).inference.tail == "centred") is (arch == "htdemucs")
    teacher = ReleasedTeacher(name, TargetMap.make({}, STEMS), RELEASED)
    levels = torch.tensor([0.02, 1.0, 0.3])[:, None, None]
    mix = levels * torch.randn(3, 2, frames, generator=torch.Generator().manual_seed(3))
    expected = taught_by(name, mix)
    assert expected.abs().amax() > 1e-3
    # openunmix's Wiener filter amplifies the rounding of another batch size
    torch.testing.assert_close(teacher(mix), expected, rtol=1e-3, atol=1e-4)


def test_estimates_are_kept_by_content_where_segments_come_back(tmp_path, monkeypatch):
    run = surroundings(tmp_path, fixed_crops=True)
    provider = TeacherDistillation(TeacherConfig(model="bbbb2222", blend=1.0), run)
    batch = batch_of()
    first = provider(batch, target_of(run, batch), AT).sources
    asked = []
    teacher = provider.teacher
    monkeypatch.setattr(provider, "teacher", lambda mix: asked.append(len(mix)) or teacher(mix))
    assert torch.equal(provider(batch, target_of(run, batch), AT).sources, first)
    assert asked == []
    half = batch_of()
    half.mix[1] += 0.01  # another mix is another content
    other = provider(half, target_of(run, half), AT).sources
    assert asked == [1]
    assert torch.equal(other[0], first[0])
    assert not torch.equal(other[1], first[1])


def damage(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "of another shape":
        np.save(path, np.zeros((2, 2, FRAMES - 1), np.float32))
    else:
        np.save(path, np.zeros((2, 2, FRAMES)))


@pytest.mark.parametrize("how", ["cut", "empty", "of another shape", "of another type"])
def test_a_damaged_estimate_is_made_again(tmp_path, caplog, how):
    run = surroundings(tmp_path, fixed_crops=True)
    provider = TeacherDistillation(TeacherConfig(model="bbbb2222", blend=1.0), run)
    batch = batch_of()
    first = provider(batch, target_of(run, batch), AT).sources
    files = sorted(provider.store.folder.rglob("*.npy"))
    whole = [path.read_bytes() for path in files]
    damage(files[0], how)
    again = provider(batch, target_of(run, batch), AT).sources
    torch.testing.assert_close(again, first)
    assert f"{files[0]}: " in caplog.text
    assert str(files[1]) not in caplog.text
    assert [len(path.read_bytes()) for path in files] == [len(content) for content in whole]


def test_an_estimate_that_can_not_be_kept_is_told(tmp_path):
    run = surroundings(tmp_path, fixed_crops=True)
    provider = TeacherDistillation(TeacherConfig(model="bbbb2222"), run)
    provider.store.folder.parent.mkdir(parents=True)
    provider.store.folder.write_text("a file where the folder should be")
    batch = batch_of()
    with pytest.raises(DataError, match=r"can't be (kept|read) .*distill\.cache=false"):
        provider(batch, target_of(run, batch), AT)


@pytest.mark.parametrize("domain", ["wave", "magnitude"])
def test_a_source_with_no_share_of_the_teacher_is_the_very_reference(tmp_path, domain):
    run = surroundings(tmp_path)
    config = TeacherConfig(model="bbbb2222", blends={"drums": 0}, domain=domain, n_fft=256, hop=64)
    batch = batch_of()
    target = TeacherDistillation(config, run)(batch, target_of(run, batch), AT)
    assert torch.equal(target.sources[:, 0], batch.stems[:, 0])
    assert not torch.allclose(target.sources[:, 1], batch.stems[:, 1], atol=1e-3)


def test_students_of_other_sources_do_not_meet_in_the_store(tmp_path):
    """The same mix and the same teacher, but another row of its estimates."""
    batch = batch_of()
    taught = taught_by("bbbb2222", batch.mix)
    for row, source in ((1, "vocals"), (0, "drums")):
        run = surroundings(tmp_path, {source: [source]}, fixed_crops=True)
        provider = TeacherDistillation(TeacherConfig(model="bbbb2222", blend=1.0), run)
        target = provider(batch, target_of(run, batch), AT)
        torch.testing.assert_close(target.sources[:, 0], taught[:, row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"fixed_crops": True, "augmented": ("scale",)}])
def test_nothing_is_kept_where_no_segment_comes_back(tmp_path, changes):
    provider = TeacherDistillation(
        TeacherConfig(model="bbbb2222"), surroundings(tmp_path, **changes)
    )
    assert provider.store is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"distill\.model: not set"),
        ({"model": "nobody"}, r"distill\.model: .*there is no model 'nobody'"),
        ({"model": "bbbb2222", "blend": 1.5}, r"distill\.blends: 1\.5 for drums"),
        ({"model": "bbbb2222", "blends": {"vocal": 1}}, r"distill\.blends\.vocal: .*no such"),
    ],
)
def test_wrong_values_are_named(tmp_path, config, message):
    with pytest.raises(ConfigError, match=message):
        TeacherDistillation(TeacherConfig(**config), surroundings(tmp_path))


def test_a_teacher_of_another_format_or_without_the_source_is_refused(tmp_path):
    run = surroundings(tmp_path, spec=AudioSpec(STEMS, 16000, 2))
    with pytest.raises(ConfigError, match=r"takes samplerate 8000, this run has 16000"):
        TeacherDistillation(TeacherConfig(model="bbbb2222"), run)
    run = surroundings(tmp_path, stems=(*STEMS, "bass"))
    with pytest.raises(ConfigError, match=r"distill\.blends\.bass: .*has no such source"):
        TeacherDistillation(TeacherConfig(model="bbbb2222"), run)
    provider = TeacherDistillation(TeacherConfig(model="bbbb2222", blends={"bass": 0}), run)
    batch = batch_of(stems=(*STEMS, "bass"))
    target = provider(batch, target_of(run, batch), AT)
    assert torch.equal(target.sources[:, 2], batch.stems[:, 2])


def test_a_run_goes_on_with_the_teacher_it_began_with(tmp_path):
    run = surroundings(tmp_path)
    first = TeacherDistillation(TeacherConfig(model="aaaa1111"), run)
    first.load_state_dict(first.state_dict())
    other = TeacherDistillation(TeacherConfig(model="aaaa3333"), run)
    with pytest.raises(ValueError, match=r"was taught by hdemucs-aaaa1111"):
        other.load_state_dict(first.state_dict())
