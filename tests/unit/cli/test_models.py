"""stemgrid models: a repo's table, and that of the known public models."""

from pathlib import Path

import pytest
from foreign_files import small_hdemucs

from mss.cli.main import main
from mss.release.export import export_model
from mss.release.importers.known import known_models


def test_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--known"]) == 0
    text = capsys.readouterr().out
    for known in known_models().values():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{known.name} ")]
        assert known.licence in line
        assert known.arch in line
        assert ",".join(known.sources) in line
        assert line.rstrip().endswith(known.published or "none stated")
    assert "museval SDR, MUSDB18-HQ test: mean 9.00 dB" in text
    assert "HDEMUCS_HIGH_MUSDB_PLUS: MUSDB18-HQ's test set was in its training data" in text
    assert "python -m tools.import_checkpoint NAME" in text


def test_names_that_a_release_answers_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    provenance = {"aliases": ["mine", "ours"]}
    path = export_model(
        small_hdemucs(), tmp_path, arch="hdemucs", signature="1a2b3c4d", provenance=provenance
    )
    assert main(["models", "--repo", str(tmp_path)]) == 0
    head, row = capsys.readouterr().out.splitlines()[1:3]
    assert head.split()[-2:] == ["ANSWERS", "TO"]
    assert path.stem in row
    assert row.endswith("mine, ours")
