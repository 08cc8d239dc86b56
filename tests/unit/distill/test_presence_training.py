"""A presence net learns, by mixtures in which every stem is silent at times."""

import math

import pytest
import torch
from presence_songs import CONFIG, TRAINING, labelled, trained, write_labelled

from mss.core.errors import ConfigError, DataError
from mss.distill.presence import Calibration, save_detector
from mss.distill.presence_mixing import Excerpts, Mixture, StemMixing, mixed_excerpts
from mss.distill.presence_net import PresenceConfig
from mss.distill.presence_training import PresenceTraining, new_net, train_presence


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("presence") / "songs")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEMGRID_CACHE", str(tmp_path / "cache"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_few_hundred_steps_teach_what_each_stem_sounds_like(songs):
    detector = trained(songs)
    excerpts = Excerpts.of(detector.net, labelled(songs).split("valid"), 150, 0.4, seed=5)
    for stem, score in detector.scores(excerpts).items():
        assert score.auc > 0.95, stem
        assert score.precision >= 0.9 and score.recall > 0.2, stem
    for threshold in detector.thresholds:
        assert threshold.lower >= 0.95
        assert threshold.score.precision >= 0.95


def test_a_net_that_learned_nothing_finds_no_silence(songs):
    once = PresenceTraining(steps=1, every=1, batch_size=1, views=2)
    detector = trained(songs, once, Calibration(excerpts=100, left_out=0.7))
    assert detector.levels == dict.fromkeys(CONFIG.stems)


def test_a_stem_that_is_never_silent_in_the_held_out_songs_is_never_called_so(songs):
    short = PresenceTraining(steps=4, every=2, batch_size=2)
    as_they_are = Calibration(excerpts=60, left_out=0)
    detector = trained(songs, short, as_they_are)
    assert detector.levels == dict.fromkeys(CONFIG.stems)
    assert [t.score.silent for t in detector.thresholds] == [0, 0, 0]
    mix = torch.zeros(1, 1, CONFIG.segment_frames)
    mix[..., ::7] = 0.1
    assert not detector.silent(mix).any()


def test_the_same_seed_gives_the_same_bytes(songs, tmp_path):
    files = []
    for index, seed in enumerate([1, 1, 2]):
        torch.rand(index)  # torch's own generator has no say
        training = PresenceTraining(steps=6, every=3, batch_size=2, seed=seed)
        path = tmp_path / f"{index}.safetensors"
        save_detector(trained(songs, training, Calibration(excerpts=30)), path)
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]


def test_workers_change_nothing(songs):
    dataset, weights = labelled(songs), []
    for workers in (0, 1):
        net = new_net(CONFIG, 0)
        held_out = Excerpts.of(net.eval(), dataset.split("valid"), 4, 0.2, 0)
        training = PresenceTraining(steps=2, every=2, batch_size=2)
        train_presence(net, dataset.split("train"), held_out, training, workers)
        weights.append(net.output.weight)
    assert torch.equal(*weights)


def test_it_ends_with_the_weights_that_were_best(songs, monkeypatch):
    dataset = labelled(songs)
    net = new_net(CONFIG, 0)
    held_out = Excerpts.of(net.eval(), dataset.split("valid"), 4, 0.2, 0)
    losses, seen = iter([0.5, 0.3, 0.4, 0.35, 0.1]), []

    def loss(excerpts, net):
        assert not net.training
        seen.append(net.output.weight.clone())
        return next(losses)

    monkeypatch.setattr(Excerpts, "loss", loss)
    training = PresenceTraining(steps=10, every=1, patience=2, batch_size=2)
    train_presence(net, dataset.split("train"), held_out, training)
    assert len(seen) == 4  # two after the best one
    assert torch.equal(net.output.weight, seen[1])
    assert not net.training


def test_updates_behind_the_last_validation_are_left_out(songs, monkeypatch):
    dataset = labelled(songs)
    net = new_net(CONFIG, 0)
    held_out = Excerpts.of(net.eval(), dataset.split("valid"), 4, 0.2, 0)
    updates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (updates.append(1), step(self)))
    for steps, every, made in ((5, 2, 4), (2, 50, 2)):
        updates.clear()
        training = PresenceTraining(steps=steps, every=every, batch_size=2)
        train_presence(net, dataset.split("train"), held_out, training)
        assert len(updates) == made


def test_the_loss_of_excerpts_is_their_mean(songs):
    net = new_net(CONFIG, 0).eval()
    excerpts = Excerpts.of(net, labelled(songs).split("valid"), 21, 0.3, 0)
    whole = net.loss(excerpts.features, excerpts.levels).item()
    assert excerpts.loss(net) == pytest.approx(whole, rel=1e-5)
    assert excerpts.told(net).shape == (21, 3)
    assert excerpts.songs == 2


# -- mixtures ----------------------------------------------------------------------------------


def test_about_as_many_stems_are_left_out_as_asked_for_and_never_all():
    mixture = StemMixing(0.5, partial=0, faint=0, gain_db=0, remix=0).draw(4000, 3, generator())
    assert set(mixture.gains.unique().tolist()) == {0.0, 1.0}
    assert (mixture.gains.sum(dim=1) >= 1).all()
    # of 3 stems none stays in 1 of 8 draws, and then one does all the same
    assert (mixture.gains == 0).double().mean() == pytest.approx(0.5 - 1 / 24, abs=0.02)
    everything = StemMixing(left_out=1.0, partial=0, faint=0).draw(50, 3, generator())
    assert ((everything.gains > 0).sum(dim=1) == 1).all()


def test_gains_are_within_their_limits_and_some_stems_are_faint():
    mixture = StemMixing(left_out=0, faint=0.25, gain_db=6, remix=0).draw(4000, 3, generator())
    decibels = 20 * mixture.gains.log10()
    faint = decibels < -6.001
    assert faint.double().mean() == pytest.approx(0.25, abs=0.02)
    assert decibels[~faint].abs().max() <= 6.001
    assert decibels[faint].max() <= -19.999 and decibels[faint].min() >= -60.001


def test_a_remix_uses_every_stem_of_every_item_once():
    remixed = StemMixing(remix=1).draw(16, 3, generator())
    for stem in range(3):
        assert sorted(remixed.items[:, stem].tolist()) == list(range(16))
    assert not torch.equal(remixed.items[:, 0], remixed.items[:, 1])
    as_it_is = StemMixing(remix=0).draw(16, 3, generator())
    assert as_it_is.items.tolist() == [[index] * 3 for index in range(16)]


def test_what_is_heard_is_the_sum_and_what_is_told_the_share_of_each_stem():
    net = new_net(CONFIG, 0).eval()
    stems = 0.1 * torch.randn(2, 3, 1, CONFIG.segment_frames, generator=generator())
    items = torch.tensor([[0, 1, 0], [1, 0, 1]])
    gains = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    spans = torch.tensor([0.0, 1.0]).expand(2, 3, 2)
    ((features, levels),) = mixed_excerpts(net, stems, [Mixture(items, gains, spans)])
    mix = stems[0, 0] + 0.5 * stems[1, 1]
    torch.testing.assert_close(features, net.features(mix[None])[0])
    expected = [stems[0, 0].square().sum(), 0.25 * stems[1, 1].square().sum()]
    shares = [10 * torch.log10(e / mix.square().sum()).item() for e in expected]
    assert levels.tolist() == pytest.approx([*(min(s, 0) for s in shares), -60], abs=1e-4)


def test_some_stems_sound_in_a_part_only():
    mixture = StemMixing(left_out=0.3, partial=0.2).draw(4000, 3, generator())
    start, end = mixture.spans.unbind(-1)
    lengths = end - start
    partial = lengths < 0.999
    assert partial.double().mean() == pytest.approx(0.2, abs=0.02)
    assert (mixture.gains[partial] > 0).all()
    assert lengths.min() >= 0.049 and lengths[partial].max() <= 0.901
    assert start.min() >= 0 and end.max() <= 1.001
    net = new_net(CONFIG, 0).eval()
    stems = torch.full((1, 2, 1, CONFIG.segment_frames), 0.1)
    one = Mixture(
        torch.zeros(1, 2, dtype=torch.long),
        torch.ones(1, 2),
        torch.tensor([[[0.0, 1.0], [0.6, 0.8]]]),
    )
    ((features, levels),) = mixed_excerpts(net, stems, [one])
    # 1 and 0.2 of the time, in phase: the mix has 0.8 + 0.2 * 2^2
    expected = [10 * math.log10(1 / 1.6), 10 * math.log10(0.2 / 1.6)]
    assert levels.tolist() == pytest.approx(expected, abs=0.1)
    mix = torch.full((CONFIG.segment_frames,), 0.1)
    mix[round(0.6 * len(mix)) : round(0.8 * len(mix))] *= 2
    sounding = net.features(mix[None, None])[0]
    assert (features - sounding).abs().median() < 0.01  # but for the edges, which are no steps


def test_shares_that_are_more_than_all_are_refused():
    with pytest.raises(ConfigError, match="these shares are more than 1 together"):
        StemMixing(left_out=0.6, partial=0.3, faint=0.2)


def test_excerpts_of_songs_as_they_are_have_all_stems(songs):
    net = new_net(CONFIG, 0).eval()
    tracks = labelled(songs).split("valid")
    levels = Excerpts.of(net, tracks, 20, 0, seed=0).levels
    assert (levels > -10).all()  # equally loud
    again = Excerpts.of(net, tracks, 20, 0.5, seed=0)
    assert torch.equal(again.levels, Excerpts.of(net, tracks, 20, 0.5, seed=0).levels)
    assert not torch.equal(again.levels, Excerpts.of(net, tracks, 20, 0.5, seed=1).levels)


# -- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stems": ("drums", "bass")}, "stems: drums, bass, vocals, and the presence net has"),
        ({"samplerate": 16000}, "sample rate: 8000 Hz, and the presence net has 16000 Hz"),
        ({"channels": 2}, "channels: 1, and the presence net has 2"),
    ],
)
def test_songs_that_do_not_fit_the_net_are_refused(songs, changes, message):
    values = {"stems": CONFIG.stems, "samplerate": 8000, "channels": 1} | changes
    net = new_net(PresenceConfig(**values), 0)
    held_out = Excerpts(torch.zeros(1, 1, 1), torch.zeros(1, 3), 1)
    with pytest.raises(ConfigError, match=message):
        train_presence(net, labelled(songs).split("train"), held_out, TRAINING)


def test_songs_without_any_sound_are_refused(tmp_path, write_song):
    for stem in ("train", "valid"):
        write_song(tmp_path / stem / "one", samplerate=8000, frames=8000)
    for path in (tmp_path / "valid" / "one").iterdir():
        import soundfile

        soundfile.write(path, torch.zeros(8000, 2).numpy(), 8000)
    tracks = labelled(tmp_path).split("valid")
    net = new_net(PresenceConfig(tracks.stems, 8000, 1, 0.5), 0)
    with pytest.raises(DataError, match="the songs of valid are silent throughout"):
        Excerpts.of(net, tracks, 4, 0, 0)
