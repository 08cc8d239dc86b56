"""What every grid's table shows."""

from __future__ import annotations

from typing import Any

import treetable as tt
from dora.explore import Explorer


class SeparationExplorer(Explorer):
    """Epoch, losses, and the scores (dB) of the best model so far."""

    def get_grid_metrics(self) -> list[Any]:
        return [
            tt.leaf("epoch"),
            tt.group("train", [tt.leaf("loss", ".4f"), tt.leaf("seconds", ".0f")], align=">"),
            tt.group(
                "valid", [tt.leaf("loss", ".4f"), tt.leaf("nsdr", ".2f"), tt.leaf("best", ".2f")]
            ),
            tt.group("test", [tt.leaf("nsdr", ".2f")], align=">"),
        ]

    def process_history(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        shown: dict[str, Any] = {"epoch": len(history)}
        for metrics in history:
            for stage in ("train", "valid", "test"):
                if stage in metrics:
                    shown[stage] = metrics[stage]
        return shown
