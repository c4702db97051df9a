"""The rows of `make bench-programs`, in the order in which they are measured."""

from __future__ import annotations

from bench.measuring import Measure
from bench.programs import listing, memory, path, rate

ROWS: dict[str, Measure] = {
    "turns": path.measure_turns,
    "single": path.measure_single,
    "long": path.measure_long,
    "encoding": rate.measure_encoding,
    "ttft": rate.measure_ttft,
    "broken": rate.measure_broken,
    "memory": memory.measure,
    "listing": listing.measure,
}
