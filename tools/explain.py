"""What is behind a signature: ``python -m tools.explain SIG [--json]``.

Tells what the run's command line asks for, what its lock holds and what of that has changed since,
the code, packages and data it was started with, how far it is, and how to go on with it.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mss.core.errors import StemgridError

PACKAGES_SHOWN = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Explain a run; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.explain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sig", metavar="SIG", help="signature of a run, or the start of it")
    parser.add_argument("--json", action="store_true", help="for programs")
    args = parser.parse_args(argv)
    try:
        # Here, not above: these bring torch, hydra and dora in, which --help does not need.
        from mss.train import main as train_main
        from tools.run_facts import find_run, run_facts

        facts = run_facts(train_main, find_run(train_main, args.sig))
    except (StemgridError, OSError) as error:
        print(f"explain: {error}", file=sys.stderr)
        return 1
    facts["go_on"] = go_on(facts)
    if args.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False, default=str))
    else:
        print("\n".join(render(facts)))
    return 0


def go_on(facts: Mapping[str, Any]) -> str:
    """Return the command that is next for a run."""
    signature, state = facts["signature"], facts["state"]
    if state.get("of") and state.get("epochs", 0) >= state["of"] and state.get("test"):
        return f"python -m tools.export {signature}"
    return f"dora run -f {signature}"


def render(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the explanation."""
    yield f"{facts['signature']}  {facts['folder']}"
    if facts["grids"]:
        yield f"in the grids {', '.join(facts['grids'])}"
    sections = {
        "Meaning": (facts["meaning"], _meaning),
        "Lock": (facts["lock"], _lock),
        "Provenance": (facts["provenance"], _provenance),
        "State": (facts["state"], _state),
    }
    for title, (part, lines) in sections.items():
        yield f"\n{title}"
        if "problem" in part:
            yield f"  {part['problem']}"
        yield from (f"  {line}" for line in lines(part))
    running = facts["state"].get("running")
    yield f"\n{'When it has ended' if running else 'Next'}: {facts['go_on']}"


def _meaning(part: Mapping[str, Any]) -> Iterator[str]:
    if part["command"]:
        yield f"dora run {' '.join(part['command'])}"
    if "problem" in part:
        return
    groups = [
        (key, str(group["choice"]), _default(group["choice"], group["default"]), group["what"])
        for key, group in part["groups"].items()
    ]
    values = [
        (key, _show(value["value"]), _default(value["value"], value["default"]), "")
        for key, value in part["values"].items()
    ]
    yield from _columns([*groups, *values])
    rest = ", ".join(f"{key}={choice}" for key, choice in part["by_default"].items())
    if rest:
        yield f"by default: {rest}"


def _default(value: Any, default: Any) -> str:
    return "(the default)" if value == default else f"(default {_show(default)})"


def _lock(part: Mapping[str, Any]) -> Iterator[str]:
    spec = part.get("spec")
    if isinstance(spec, Mapping):
        sources = ", ".join(map(str, spec.get("sources", [])))
        yield f"sources {sources}; {spec.get('samplerate')} Hz, {spec.get('channels')} channels"
    if part.get("data"):
        yield f"data {str(part['data'])[:8]}"
    if "differs_from_defaults" not in part:
        return
    rows = [
        (key, _show(value), f"(default {_show(default)})")
        for key, default, value in part["differs_from_defaults"]
    ]
    if rows:
        yield "other than the defaults of its groups:"
        yield from (f"  {line}" for line in _columns(rows))
    if part["changed_since"]:
        yield "CHANGED in conf/ since it started (it goes on with misc.accept_changes=true alone):"
        changes = [
            (key, f"{_show(old)} -> {_show(new)}") for key, old, new in part["changed_since"]
        ]
        yield from (f"  {line}" for line in _columns(changes))
    else:
        yield "nothing of it has changed in conf/ since"


def _provenance(part: Mapping[str, Any]) -> Iterator[str]:
    if "problem" in part:
        return
    code = "the code of now" if part["same_code"] else "the code has changed since"
    source = str(part["source"])[:8]
    yield f"started {part['created']} by stemgrid {part['stemgrid']}, code {source} ({code})"
    if part["continued_from"]:
        yield f"from the weights of {part['continued_from']}"
    if part["later_starts"]:
        yield f"went on with other code or data: {', '.join(map(str, part['later_starts']))}"
    yield f"Python {part['python']} on {part['machine']}"
    other = part["packages"]
    if other:
        shown = [
            f"{name} {then} (now {now or 'not installed'})"
            for name, (then, now) in list(other.items())[:PACKAGES_SHOWN]
        ]
        more = f" and {len(other) - PACKAGES_SHOWN} more" if len(other) > PACKAGES_SHOWN else ""
        yield f"other packages than now: {', '.join(shown)}{more}"
    else:
        yield "the packages of now"
    for split, data in part["data"].items():
        minutes = f", {data['minutes']:g} minutes" if data["minutes"] is not None else ""
        songs = "?" if data["songs"] is None else data["songs"]
        yield f"{split}: {songs} songs of {data['name']}{minutes} ({str(data['fingerprint'])[:8]})"


def _state(part: Mapping[str, Any]) -> Iterator[str]:
    if "problem" in part:
        return
    of = f" of {part['of']}" if part["of"] else ""
    yield f"{part['epochs']}{of} epochs done"
    best = part["best"]
    if best:
        value = "?" if best["value"] is None else f"{best['value']:.2f}"
        yield f"best {best['metric']} {value} in epoch {best['epoch']}"
    if part["test"]:
        scores = [
            f"{name.removeprefix('nsdr_')} {'-' if value is None else f'{value:.2f}'}"
            for name, value in part["test"].items()
        ]
        yield f"tested (dB): {', '.join(scores)}"
    else:
        yield "not tested yet"
    checkpoint = part["checkpoint"]
    if checkpoint:
        size = checkpoint["bytes"] / 1e6
        yield f"checkpoint of {size:.1f} MB, {_duration(checkpoint['age_seconds'])} old"
    else:
        yield "no checkpoint"
    if part["running"]:
        yield "a process is training it"
    elif part["running"] is None:
        yield "whether a process is training it can't be told (no locks on this file system)"
    if part["slurm"]:
        state = part["slurm"]["state"] or "state unknown: no sacct here"
        yield f"SLURM job {part['slurm']['id']} ({state})"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = (
        [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    )
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


if __name__ == "__main__":
    sys.exit(main())
