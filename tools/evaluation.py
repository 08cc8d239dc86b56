"""What the tools that evaluate share: data, metrics, ranks and a results folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mss import build, ranks
from mss.core import distrib, registry
from mss.core.errors import ConfigError
from mss.eval.evaluate import EvaluationConfig
from mss.eval.protocol import Protocol, System
from mss.eval.results import ResultsFolder
from mss.eval.runner import evaluate_set
from mss.eval.table import plural, render_summary
from mss.metrics.base import make_metrics, stated_measures

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mss.core.targets import TargetMap
    from mss.eval.estimators import Estimator
    from mss.eval.summary import Summary


PATIENCE = timedelta(days=7)
"""How long a rank waits for the others: an evaluation may end with one long song of theirs."""


class Evaluation:
    """A data set's split and what is measured on it.

    Args:
        overrides: of the configuration's groups `dset`, `targets`, `test` and `misc`.

    Attributes:
        test: keys of the group `test`.
        metrics: what it names.
        tracks: the songs.
        targets: which of their stems sum to which source.
        device: of this rank.

    Raises:
        ConfigError, DataError: what is asked for makes no sense or is not there.
    """

    def __init__(self, overrides: Sequence[str] = ()) -> None:
        from dora.distrib import get_distrib_spec

        cfg = build.compose_config(overrides)
        build.prepare_process(cfg)
        self.test: EvaluationConfig = registry.make_config(
            EvaluationConfig, _plain(cfg.test), "test"
        )
        self.metrics = make_metrics(self.test.metrics)
        self.device = build.choose_device(cfg.misc.device, get_distrib_spec().local_rank)
        self.tracks = build.build_dataset(cfg).split(self.test.split)
        self.targets = build.build_target_map(cfg, self.tracks.stems)
        self._progress = bool(cfg.misc.progress)

    @property
    def is_main(self) -> bool:
        """Whether this process prints and records."""
        return distrib.is_main()

    def run(
        self,
        system: System,
        estimator: "Estimator",
        targets: "TargetMap",
        out: Path,
        anew: bool = False,
    ) -> "tuple[ResultsFolder, Summary]":
        """Evaluate `estimator`; see mss.eval.runner.evaluate_set.

        Args:
            system: what it is.
            estimator: gives each song's estimates of `targets.sources`.
            targets: rows of the evaluation's targets.
            out: folder of all results.
            anew: score songs again that have a result.
        """
        protocol = Protocol(
            dataset=self.tracks.name,
            split=self.tracks.split,
            fingerprint=self.tracks.fingerprint,
            samplerate=self.tracks.samplerate,
            channels=self.tracks.channels,
            targets=targets,
            measures=tuple(m for metric in self.metrics for m in stated_measures(metric)),
        )
        folder = ResultsFolder(out, system, protocol, self.metrics)
        summary = evaluate_set(
            estimator,
            self.tracks.tracks,
            targets,
            self.metrics,
            folder,
            self.test.workers,
            self._progress,
            anew,
        )
        return folder, summary

    def table(self, folder: ResultsFolder, summary: "Summary") -> str:
        """Return the scores as text, and where they lie."""
        system, tracks = folder.system, self.tracks
        label = f" ({system.label})" if system.label else ""
        head = (
            f"{system.name}{label} on {plural(len(tracks.tracks), 'song')} of {tracks.name}"
            f" ({tracks.split})"
        )
        return f"{head}\n\n{render_summary(summary, folder.protocol)}\n\nResults: {folder.path}"


@contextmanager
def shared_evaluation(
    overrides: Sequence[str] = (), separates: bool = True
) -> Iterator[Evaluation]:
    """Give the evaluation that this process and its other ranks, if there are any, share.

    Args:
        overrides: see Evaluation.
        separates: a model separates the songs; what speaks of that is refused otherwise.

    Raises:
        ConfigError: see Evaluation, or `test.shifts` where nothing is separated.
        PeerError: another rank ended or can't be reached.
    """
    evaluation = Evaluation(overrides)
    if evaluation.test.shifts and not separates:
        raise ConfigError(
            f"test.shifts={evaluation.test.shifts}: no model separates anything here; leave it out"
        )
    with ranks.lost_peers():
        # gloo on any device: ranks tell each other no more than that they are done
        ranks.join(build.choose_device("cpu"), evaluation.tracks.fingerprint, PATIENCE)
        yield evaluation
        ranks.leave()


def _plain(group: "DictConfig") -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(group, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
