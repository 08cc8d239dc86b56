"""``python -m mss``: the command line, for where the `stemgrid` script is not on the path."""

import sys

from mss.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
