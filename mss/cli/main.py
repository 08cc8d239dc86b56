"""The `stemgrid` command: parses, calls one function of a subcommand, tells errors in one line.

Nothing heavy is imported before a subcommand runs: ``--help``, ``--version`` and wrong arguments
answer without torch.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import mss
from mss.cli import doctor, models, separate
from mss.core.errors import StemgridError

EXIT_ERROR = 1
"""The input is at fault. argparse exits with 2 for wrong arguments."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as a shell reports it."""
EXIT_PIPE = 141
"""128 + SIGPIPE: whoever read what we print has gone, as in ``| head``."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands; each leaves its function in `run`."""
    parser = argparse.ArgumentParser(
        prog="stemgrid", description="Take recordings apart into their sources."
    )
    parser.add_argument("--version", action="version", version=f"stemgrid {mss.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (separate, models, doctor):
        summary = module.SUMMARY
        command = commands.add_parser(
            module.__name__.rpartition(".")[2], help=summary, description=summary
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name (default: sys.argv's).
    """
    arguments = make_parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a file's name may hold bytes that are no text, or none of the terminal's
            stream.reconfigure(errors="backslashreplace")
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except StemgridError as error:
        return fail(str(error))
    except BrokenPipeError:
        # nothing is at fault; what is still in the buffer must not fail once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except OSError as error:
        parts = [str(part) for part in (error.filename, error.strerror) if part]
        return fail(": ".join(parts) or repr(error))
    except KeyboardInterrupt:
        print("stemgrid: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def fail(message: str) -> int:
    """Print an error for people and return the exit code that goes with it."""
    print(f"stemgrid: error: {message}", file=sys.stderr)
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
