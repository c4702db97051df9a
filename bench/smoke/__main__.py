"""`python -m bench.smoke`: count every scene, print a table, fail where a counter is above twice its baseline."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import msgspec
from bench.smoke import __doc__ as description
from bench.smoke.compare import compare, table
from bench.smoke.library import LibraryError, compile_library
from bench.smoke.measure import SceneError, measure
from bench.smoke.scenes import SCENES, Result

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
BUILD = HERE.parents[1] / "build" / "bench-smoke"
NUM_FUNCTIONS = 60


class Baseline(msgspec.Struct, frozen=True):
    """What was counted when the baseline was made; other versions of Python make other calls."""

    python: str
    scenes: dict[str, dict[str, float]]


def main() -> int:
    """Run; gives the exit status: 0 as it should be, 1 where a counter or a scene fails."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.smoke", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write what is counted as the baseline")
    parser.add_argument("--functions", choices=SCENES, help="say which functions a scene calls, per unit of work")
    args = parser.parse_args()
    try:
        library = compile_library(BUILD)
        if args.functions:
            print(_functions(measure(args.functions, library)))
            return 0
        scenes = {scene: dict(measure(scene, library).counts) for scene in SCENES}
    except (LibraryError, SceneError) as error:
        print(f"bench-smoke: {error}", file=sys.stderr)
        return 1
    now = Baseline(python=platform.python_version(), scenes=scenes)
    if args.update:
        BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=2) + b"\n")
    return judge(msgspec.json.decode(BASELINE.read_bytes(), type=Baseline), now)


def judge(baseline: Baseline, now: Baseline) -> int:
    """Print the table and what follows from it; gives the exit status."""
    rows = compare(baseline.scenes, now.scenes)
    print(table(rows))
    if baseline.python.split(".")[:2] != now.python.split(".")[:2]:
        print(f"note: the baseline was counted on Python {baseline.python}, and this is {now.python}, which calls differently")
    for hint in filter(None, (row.hint for row in rows)):
        print(f"hint: {hint}")
    failures = [row.failure for row in rows if row.failure]
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


def _functions(result: Result) -> str:
    most = sorted(result.functions.items(), key=lambda item: -item[1])[:NUM_FUNCTIONS]
    return "\n".join(f"{number:8.1f}  {name}" for name, number in most)


if __name__ == "__main__":
    sys.exit(main())
