"""The Dora entry: `dora run [overrides]`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dora.distrib import get_distrib_spec
from dora.hydra import HydraMain
from dora.xp import XP, get_xp
from omegaconf import DictConfig

from mss import build
from mss.compose import COMPOSITION_ERRORS, VERSION_BASE, check_overrides, compose_config, explain
from mss.core.errors import ConfigError, StemgridError

logger = logging.getLogger(__name__)


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
    try:
        if get_distrib_spec().world_size > 1:
            # Without a process group every rank would train, and write, a whole run of its own.
            raise ConfigError("dora run -d: this version trains in one process; leave -d out")
        build.prepare_process(cfg)
        xp = get_xp()
        build.solver(cfg, folder=xp.folder, link=xp.link).run()
    except (StemgridError, OSError) as error:
        logger.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        logger.warning("Interrupted; the same command goes on from the last checkpoint")
        sys.exit(130)


if __name__ == "__main__":
    main()
