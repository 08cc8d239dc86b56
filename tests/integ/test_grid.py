"""Dora's own commands, as far as they go without a scheduler."""

import pytest

pytestmark = pytest.mark.integ


def test_a_grid_is_listed_and_its_runs_can_be_referenced(lab):
    printed = lab.run(
        "dora", "-P", "mss", "grid", "smoke", "--dry_run", "--no_monitoring", "--init"
    )
    assert "openunmix_tiny" in printed
    assert "hdemucs_tiny" in printed
    signatures = sorted(path.name for path in lab.runs.iterdir())
    assert len(signatures) == 2
    assert all(signature in printed for signature in signatures)
    assert "openunmix_tiny" in lab.run("dora", "-P", "mss", "info", "-f", signatures[0]) + lab.run(
        "dora", "-P", "mss", "info", "-f", signatures[1]
    )


def test_every_optional_group_can_be_none(lab):
    printed = lab.run("dora", "-P", "mss", "info", "augment=none", "distill=none", "variant=none")
    assert "Sheep(" in printed
