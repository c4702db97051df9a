"""Measures what it costs to know programs and to trace them. `make bench-programs` runs it.

    python -m bench.programs --cache FOLDER [--row NAME ...] [--json out.json] [--paper docs/benchmarks.md]

Ends with status 1 where a bar does not hold.
"""

import sys

from bench.measuring import main
from bench.programs.rows import ROWS

if __name__ == "__main__":
    sys.exit(main("bench-programs", __doc__, ROWS))
