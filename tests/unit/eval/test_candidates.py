"""Which results folders an argument names."""

import pytest
from scored_songs import GAIN, LOSS, songs, write_scores

from mss.core.errors import ConfigError, DataError
from mss.eval.candidates import read_candidate

SCORES = songs("drums", 1.0, 2.0, float("nan"))


def scores_of(candidate, seed=0):
    (table,) = candidate.seeds[seed].values()
    return table.scores


def test_a_name_a_folder_and_a_results_folder_are_the_same(tmp_path):
    folder = write_scores(tmp_path / "results", "new", SCORES)
    found = [
        read_candidate("new", tmp_path / "results"),
        read_candidate(str(tmp_path / "results" / "new"), tmp_path),
        read_candidate(str(folder), tmp_path),
    ]
    for candidate in found:
        assert candidate.name == "new"
        assert scores_of(candidate) == {"00": {"drums": 1.0}, "01": {"drums": 2.0}, "02": {}}


def test_everything_of_a_system_is_read(tmp_path):
    write_scores(tmp_path, "new", {GAIN: SCORES})
    write_scores(tmp_path, "new", {GAIN: SCORES, LOSS: SCORES})
    write_scores(tmp_path, "new", {GAIN: SCORES}, split="valid")
    candidate = read_candidate("new", tmp_path)
    names = [(t.measure.name, t.results.split) for t in candidate.seeds[0].values()]
    assert sorted(names) == [("gain", "test"), ("gain", "valid"), ("loss", "test")]
    assert candidate.ids() == list(candidate.seeds[0])
    assert [id.split("/")[0] for id in candidate.ids("loss")] == ["loss"]


def test_seeds_are_listed_with_commas(tmp_path):
    for seed in range(3):
        write_scores(tmp_path, f"new{seed}", songs("drums", float(seed)))
    candidate = read_candidate("new0,new1, new2", tmp_path)
    assert candidate.name == "new0 and 2 more"
    assert [scores_of(candidate, seed)["00"]["drums"] for seed in range(3)] == [0.0, 1.0, 2.0]
    assert read_candidate("ours=new0,new1", tmp_path).name == "ours"
    with pytest.raises(ConfigError, match="names the same results twice"):
        read_candidate("new0,new0", tmp_path)


@pytest.mark.parametrize("spelling", ["{root}/new", "{root}/other/../new", "link", "{folder}"])
def test_a_folder_is_one_seed_however_it_is_spelt(tmp_path, spelling):
    folder = write_scores(tmp_path, "new", SCORES)
    write_scores(tmp_path, "other", SCORES)
    (tmp_path / "link").symlink_to(tmp_path / "new")
    second = spelling.format(root=tmp_path, folder=folder)
    with pytest.raises(ConfigError, match="names the same results twice"):
        read_candidate(f"new,{second}", tmp_path)
    assert len(read_candidate("new,other", tmp_path).seeds) == 2  # the same scores by chance


def test_the_protocols_of_a_candidate_are_those_of_all_its_seeds(tmp_path):
    write_scores(tmp_path, "a", {GAIN: SCORES, LOSS: SCORES})
    write_scores(tmp_path, "b", {LOSS: SCORES})
    ids = read_candidate("a,b", tmp_path).ids()
    assert [id.split("/")[0] for id in ids] == ["loss"]


def test_an_existing_folder_is_taken_at_its_word(tmp_path):
    write_scores(tmp_path, "lr=1,wd=0", SCORES)
    candidate = read_candidate(str(tmp_path / "lr=1,wd=0"), tmp_path)
    assert (candidate.name, len(candidate.seeds)) == ("lr=1,wd=0", 1)


def test_an_oracle_is_called_one(tmp_path):
    write_scores(tmp_path, "irm", SCORES, label="magnitude-mask oracle")
    assert read_candidate("irm", tmp_path).name == "irm (magnitude-mask oracle)"
    assert read_candidate("bound=irm", tmp_path).name == "bound (magnitude-mask oracle)"


def test_unknown_names(tmp_path):
    write_scores(tmp_path, "baseline", SCORES)
    with pytest.raises(ConfigError, match=r"basline: is neither .* Did you mean 'baseline'"):
        read_candidate("basline", tmp_path)
    with pytest.raises(ConfigError, match=r"\(nothing\): is neither"):
        read_candidate("baseline,", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: holds no finished evaluation"):
        read_candidate("empty", tmp_path)


def test_a_folder_of_that_name_elsewhere_does_not_hide_the_results(tmp_path, monkeypatch):
    write_scores(tmp_path / "results", "new", SCORES)
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path)
    assert scores_of(read_candidate("new", tmp_path / "results"))["01"] == {"drums": 2.0}


def test_two_results_of_one_protocol_must_agree(tmp_path):
    write_scores(tmp_path, "new", {GAIN: SCORES})
    write_scores(tmp_path, "new", {GAIN: songs("drums", 1.0, 2.5, 3.0), LOSS: SCORES})
    with pytest.raises(ConfigError, match="hold other scores of the same protocol gain/demo/test@"):
        read_candidate("new", tmp_path)


def test_several_systems_are_not_one(tmp_path):
    write_scores(tmp_path / "all", "one", SCORES)
    write_scores(tmp_path / "all", "two", SCORES)
    for system in ("one", "two"):  # as if the folders had been moved together
        (tmp_path / "mixed").mkdir(exist_ok=True)
        (tmp_path / "all" / system / "demo-test").rename(tmp_path / "mixed" / f"{system}")
    with pytest.raises(ConfigError, match="holds the results of one and two"):
        read_candidate("mixed", tmp_path)


def test_a_damaged_song_is_named(tmp_path):
    folder = write_scores(tmp_path, "new", SCORES)
    (folder / "tracks" / "01.json").write_text("{")
    with pytest.raises(DataError, match=r"01\.json: is not JSON"):
        read_candidate("new", tmp_path)
