"""The rows of `make bench-knowledge`, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.knowledge import faults, feeding, hidden, knowing, naming, relaying
from bench.knowledge.row import Row

ROWS: dict[str, Callable[[int, Path], Row]] = {
    "knowing": lambda seed, _: knowing.measure(seed),
    "feeding": lambda seed, _: feeding.measure(seed),
    "relaying": relaying.measure,
    "lossy": lambda seed, _: faults.measure_lossy(seed),
    "templates": lambda seed, _: faults.measure_templates(seed),
    "naming": lambda seed, _: naming.measure(seed),
    "warm": lambda seed, _: faults.measure_warm(seed),
    "hidden": lambda seed, _: hidden.measure_row(seed),
}
"""Each measures with a seed, and may keep what it compiles in a cache folder."""
