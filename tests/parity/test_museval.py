"""The museval backend equals museval as its users call it, and museval's tools read our files."""

import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
import torch
from einops import rearrange

from mss.eval.museval_json import METRICS, write_museval_json
from mss.eval.museval_results import read_museval_results
from mss.eval.summary import over_songs
from mss.metrics.museval_backend import MEASURES, Museval


@pytest.mark.parity
@pytest.mark.parametrize("channels", [1, 2])
def test_equals_museval_evaluate(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # museval imports musdb, whose reader of .stem.mp4 refuses to load without an ffmpeg program
    monkeypatch.setitem(sys.modules, "musdb", ModuleType("musdb"))
    import museval

    samplerate = 4000
    generator = torch.Generator().manual_seed(channels)
    noise = torch.randn(2, channels, 3 * samplerate + 100, generator=generator)
    # coloured, so that the filters have something to fit
    reference = 0.1 * (noise + noise.roll(1, dims=-1))
    estimate = 0.8 * reference + 0.2 * reference.flip(0) + 0.02 * noise.roll(5, dims=-1)
    reference[1, :, :samplerate] = 0

    frames = Museval().frames(reference, estimate, samplerate).values
    expected = museval.evaluate(
        rearrange(reference, "s c t -> s t c").double().numpy(),
        rearrange(estimate, "s c t -> s t c").double().numpy(),
        win=samplerate,
        hop=samplerate,
    )
    assert frames["museval_sdr"].isnan()[:, 0].all()
    assert not frames["museval_sdr"][:, 1:].isnan().any()
    for name, values in zip(MEASURES, expected, strict=True):
        # the same operations on the same numbers
        torch.testing.assert_close(
            frames[name], torch.from_numpy(values), rtol=0, atol=0, equal_nan=True
        )


@pytest.mark.parity
def test_musevals_tools_read_our_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "musdb", ModuleType("musdb"))
    import museval
    from jsonschema import validate

    generator = torch.Generator().manual_seed(0)
    for song in ("one", "two", "three"):
        framewise = {
            target: {
                metric: [*torch.randn(4, generator=generator).tolist(), math.nan, math.inf]
                for metric in METRICS
            }
            for target in ("vocals", "drums")
        }
        path = tmp_path / "system" / "test" / f"{song}.json"
        write_museval_json(path, framewise, Fraction(1), Fraction(1), "stemgrid")
        schema = Path(museval.__file__).with_name("musdb.schema.json")
        validate(json.loads(path.read_text()), json.loads(schema.read_text()))
    store = museval.EvalStore()
    store.add_eval_dir(tmp_path / "system")
    theirs = store.agg_frames_tracks_scores()
    ours = read_museval_results(tmp_path / "system")
    names = dict(zip(METRICS, ("csdr", "isr", "sir", "sar"), strict=True))
    assert len(theirs) == len(names) * len(ours.sources) == 8
    for (target, metric), score in theirs.items():
        measure = ours.measures[names[metric]]
        of_songs = [scores[measure.name][target] for scores in ours.tracks.values()]
        assert over_songs(measure, of_songs) == pytest.approx(score, abs=1e-12)
