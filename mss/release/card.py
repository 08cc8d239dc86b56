"""The model card: what someone should know before using a released model, in Markdown."""

from collections.abc import Mapping
from typing import Any

import yaml

from mss.release.header import NO_LICENCE, Header

_LONG = 12
"""Entries above which a collection of the provenance is only counted."""


def render_card(name: str, header: Header, scores: Mapping[str, Any]) -> str:
    """Return the card of a released model.

    Args:
        name: full name of the model.
        header: of the released file.
        scores: by protocol id; may hold more than the header, which knows those at the export.
    """
    spec = header.spec
    origin = header.provenance.get("origin")
    channels = {1: "mono", 2: "stereo"}.get(spec.channels, f"{spec.channels} channels")
    sections = [
        f"# {name}\n",
        f"A music source separation model: it splits a mixture into {_listing(spec.sources)}.\n",
        _table(
            ("", ""),
            [
                ("architecture", f"`{header.arch}`"),
                ("parameters", f"{header.parameters:,}"),
                ("audio", f"{spec.samplerate} Hz, {channels}"),
                ("chunk", _seconds(header)),
                ("input normalisation", header.inference.normalise),
                ("signature", f"`{header.signature}`"),
                *([("answers to", listed)] if (listed := _aliases(header)) else []),
                *([("imported from", str(origin))] if origin else []),
                ("date of the run", header.created or "not recorded"),
                ("written by", f"stemgrid {header.version}"),
                ("licence of the weights", header.licence),
            ],
        ),
        "## Use\n",
        _block(f"stemgrid separate --repo FOLDER -n {name} song.wav -o separated"),
        "or, from Python:\n",
        _block(f'from mss.release.repo import Repo\n\nrelease = Repo("FOLDER").load("{name}")'),
        "## Scores\n",
        _scores(scores, spec.sources),
        "## Data and training\n",
        _provenance(header.provenance),
        "## Limits\n",
        _limits(header),
    ]
    return "\n".join(sections)


def _scores(scores: Mapping[str, Any], sources: tuple[str, ...]) -> str:
    """Return one table, a column a protocol, and a list of the values that stand alone."""
    tables = {key: value for key, value in scores.items() if isinstance(value, Mapping)}
    parts = []
    if tables:
        found = dict.fromkeys(measure for values in tables.values() for measure in values)
        measures = [source for source in sources if source in found]
        measures += [measure for measure in found if measure not in sources]
        rows = [
            (measure, *(_number(values.get(measure)) for values in tables.values()))
            for measure in measures
        ]
        parts.append(_table(("", *tables), rows))
        parts.append(
            "Each column was measured by another protocol (metric, data, aggregation): compare "
            "numbers within one column only.\n"
        )
    alone = [f"- {key}: {_number(value)}" for key, value in scores.items() if key not in tables]
    if alone:
        parts.append("\n".join(alone) + "\n")
    if not parts:
        return "None were recorded. Score it with `python -m tools.test_pretrained`.\n"
    return "\n".join(parts)


def _provenance(provenance: Mapping[str, Any]) -> str:
    if not provenance:
        return "Nothing was recorded about how these weights were made.\n"
    text = yaml.safe_dump(_shortened(dict(provenance)), sort_keys=False, allow_unicode=True)
    return _block(text.rstrip())


def _shortened(value: Any) -> Any:
    """Replace long collections by their number of entries; the file's header has them all."""
    if isinstance(value, Mapping):
        if len(value) > _LONG:
            return f"({len(value)} entries, in the file's header)"
        return {key: _shortened(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        if len(value) > _LONG:
            return f"({len(value)} entries, in the file's header)"
        return [_shortened(entry) for entry in value]
    return value


def _limits(header: Header) -> str:
    lines = [
        "- It was made for music like that of its training data; other genres, instruments or "
        "recording conditions separate worse.",
        "- Estimates hold traces of the other sources and artefacts; they are no substitute for "
        "the original multitrack.",
        "- Audio of another rate or number of channels is converted to "
        f"{header.spec.samplerate} Hz and {header.spec.channels} channel(s) first.",
    ]
    if known := header.provenance.get("contamination"):
        lines.append(f"- {known}: scores there say nothing about other music.")
    if header.licence == NO_LICENCE:
        lines.append(
            "- No licence is stated: ask who trained it, and mind that of the training data."
        )
    return "\n".join(lines) + "\n"


def _seconds(header: Header) -> str:
    inference = header.inference
    if inference.segment is None:
        return "the whole file at once"
    return f"{float(inference.segment):g} s, overlap {inference.overlap:g}, {inference.window}"


def _aliases(header: Header) -> str:
    return ", ".join(f"`{name}`" for name in header.aliases)


def _listing(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _block(text: str) -> str:
    """Return a code block by indentation, which no text inside of it can end."""
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines()) + "\n"
