"""The Dora entry: `dora run [overrides]`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from dora.distrib import get_distrib_spec
from dora.hydra import HydraMain
from dora.xp import XP, get_xp
from omegaconf import DictConfig

from mss import build, ranks, requeue, shepherd
from mss.compose import COMPOSITION_ERRORS, VERSION_BASE, check_overrides, compose_config, explain
from mss.core.allocator import keep_freed_memory
from mss.core.errors import ConfigError, StemgridError
from mss.solver.folder import FolderClaim
from mss.solver.stop import Stopped, StopRequest

logger = logging.getLogger(__name__)

shepherd.install()  # every command of Dora's comes by here


class LabMain(HydraMain):
    """Dora's Hydra entry with errors that name the key and the remedy, without a traceback."""

    def get_xp(self, argv: Sequence[str]) -> XP:
        try:
            check_overrides(argv)
            try:
                xp: XP = super().get_xp(argv)
            except COMPOSITION_ERRORS as error:
                raise explain(error, self._get_config, argv) from error
            self._make_outputs()
            return xp
        except StemgridError as error:
            # Dora's comparison keeps state from a failed attempt, so the process ends here.
            print(f"dora: error: {error}", file=sys.stderr)
            sys.exit(1)

    def get_xp_history(self, xp: XP) -> list[dict[str, Any]]:
        """Return the epochs of a run, none where the file that holds them is damaged."""
        try:
            history: list[dict[str, Any]] = super().get_xp_history(xp)
            return history
        except ValueError as error:
            logger.warning("%s: the history can't be read (%s)", xp.history, error)
            return []

    def _make_outputs(self) -> None:
        """Make the folder of all runs, which Dora itself would do with a traceback."""
        try:
            self.dora.dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"dora.dir: {self.dora.dir} can't be made ({error.strerror}); "
                "name another folder by $STEMGRID_OUTPUTS"
            ) from error

    def __call__(self) -> Any:
        try:
            return super().__call__()  # type: ignore[no-untyped-call]
        except OSError as error:  # the run's folder can't be made or written
            print(f"dora: error: {error}", file=sys.stderr)
            sys.exit(1)


def _lab_main(function: Callable[[DictConfig], None]) -> Any:
    try:
        compose_config()  # a broken or missing conf/ is told here, not in Dora's import
        return LabMain(
            function, config_name="config", config_path="../conf", version_base=VERSION_BASE
        )
    except StemgridError as error:
        print(f"dora: error: {error}", file=sys.stderr)
        sys.exit(1)


@_lab_main
def main(cfg: DictConfig) -> None:
    """Train, validate, keep the best, test; or go on where a checkpoint stands."""
    stop = StopRequest()
    try:
        with ranks.lost_peers():
            _train(cfg, get_xp(), stop)
    except Stopped as stopped:
        requeue.leave(stop, stopped.signum)
    except (StemgridError, OSError) as error:
        logger.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        logger.warning("Interrupted; the same command goes on from the last checkpoint")
        sys.exit(requeue.INTERRUPTED)
    finally:
        stop.restore()


def _train(cfg: DictConfig, xp: XP, stop: StopRequest) -> None:
    spec = get_distrib_spec()
    if spec.rank > 0:
        _log_to_the_console_alone()
    # before anything is built, and before the ranks of a second start could meet those of the first
    with FolderClaim(xp.folder) if spec.rank == 0 else nullcontext():
        device = build.build_device(cfg, spec.local_rank)
        ranks.join(device, xp.sig)
        # not before: a rank that still waits for the others has nothing to save, and just ends
        stop.install(watch_parent=spec.source == "env" and spec.world_size > 1)
        keep_freed_memory()
        build.prepare_process(cfg)
        build.solver(cfg, xp.folder, xp.link, device, stop).run()
        ranks.leave()


def _log_to_the_console_alone() -> None:
    """Leave the run's train.log to the main process; the console of each rank has a file anyway."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    main()
