"""Two ranks do what one process does, and agree on when they stop."""

import signal

import pytest
import torch
from toy_ranks import evaluate, train, work
from toy_solver import STEPS, taught, with_recordings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def results(folder):
    """What each of two processes found."""
    torch.multiprocessing.spawn(work, args=(2, str(folder)), nprocs=2)
    return [torch.load(folder / f"result{rank}.th", weights_only=False) for rank in range(2)]


def test_two_ranks_learn_what_one_process_learns(results, tmp_path):
    """Though the labels are shared out unequally, and the second rank's loss is of fewer."""
    alone = train(tmp_path, dropout=0.0)
    for result in results:
        assert torch.allclose(result["plain"]["gains"], alone["gains"], atol=1e-6)
        for one, other in zip(result["plain"]["history"], alone["history"], strict=True):
            assert one["train"]["loss"] == pytest.approx(other["train"]["loss"], rel=1e-6)
            assert one["train"]["grad_norm"] == pytest.approx(other["train"]["grad_norm"], rel=1e-5)
            assert one["valid"]["score"] == pytest.approx(other["valid"]["score"], rel=1e-4)


@pytest.mark.parametrize("kind", ["snapshot", "ema"])
def test_ranks_are_taught_by_the_same_teacher_and_learn_what_one_process_does(
    results, tmp_path, kind
):
    alone = train(tmp_path, dropout=0.0, targets=taught(teacher=kind))
    teachers = [list(tensors(result["taught"][kind]["targets"]["pskd"])) for result in results]
    assert teachers[0]
    for one, other in zip(*teachers, strict=True):
        assert torch.equal(one, other)
    for result in results:
        assert torch.allclose(result["taught"][kind]["gains"], alone["gains"], atol=1e-6)
    assert not torch.allclose(results[0]["taught"][kind]["gains"], results[0]["plain"]["gains"])


def test_a_rank_that_meets_no_recording_tells_of_the_same_parts_of_the_loss(results, tmp_path):
    """The sums of two ranks are added by their places, so both have to name the same ones."""
    alone = train(tmp_path, dropout=0.0, **with_recordings())
    for result in results:
        assert torch.allclose(result["recordings"]["gains"], alone["gains"], atol=1e-6)
        for one, other in zip(result["recordings"]["history"], alone["history"], strict=True):
            names = {name for name in other["train"] if name.startswith("loss")}
            assert names == {"loss", "loss_a", "loss_b", "loss_remainder"}
            for name in names:
                assert one["train"][name] == pytest.approx(other["train"][name], rel=1e-5)


def tensors(state):
    """Yield every tensor of nested dicts."""
    for value in state.values():
        if isinstance(value, dict):
            yield from tensors(value)
        else:
            yield value


def test_a_stop_that_one_rank_hears_stops_all_at_the_same_update(results):
    for result in results:
        assert result["stopped"]["stopped"] == signal.SIGTERM
        assert result["stopped"]["place"] == (1, 6 - STEPS)


def test_a_resume_is_exact_for_every_rank_s_generators(results, folder):
    checkpoint = torch.load(folder / "resumed" / "checkpoint.th", weights_only=True)
    first, second = (state["torch"] for state in checkpoint["rng"])
    assert not torch.equal(first, second)  # dropout differs from rank to rank
    for result in results:
        assert torch.equal(result["resumed"]["gains"], result["undisturbed"]["gains"])
        losses = [
            [epoch["train"]["loss"] for epoch in result[run]["history"]]
            for run in ("resumed", "undisturbed")
        ]
        assert losses[0] == losses[1]
    assert torch.equal(results[0]["resumed"]["gains"], results[1]["resumed"]["gains"])


def test_ranks_share_the_songs_and_all_have_the_scores_of_one_process(results):
    alone = evaluate()
    for result in results:
        assert result["scored"] == (alone.summary, alone.tracks)
        assert result["asked"] == signal.SIGTERM


def test_what_ranks_tell_each_other(results):
    for result in results:
        assert result["gathered"] == [0, 1]
        assert result["told"] == "from 0"
        assert result["summed"].tolist() == [2.0, 1.0]
        assert not result["buffer"].any()


def test_ranks_that_see_other_folders_are_told(results):
    for result in results:
        assert "rank 1 found another checkpoint" in result["shared"]
        assert "dora.dir must be a folder that all nodes share" in result["shared"]
