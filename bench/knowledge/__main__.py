"""Measures what it costs to know what every replica holds, and how right it is. `make bench-knowledge` runs it.

    python -m bench.knowledge --cache FOLDER [--row NAME ...] [--json out.json] [--paper docs/benchmarks.md]

Ends with status 1 where a bar does not hold.
"""

import sys

from bench.knowledge.rows import ROWS
from bench.measuring import main

from turnwise import collector

if __name__ == "__main__":
    collector.tune()  # as the proxy does when it is ready
    sys.exit(main("bench-knowledge", __doc__, ROWS))
