"""Counts work while it is done: function calls by the interpreter's profiler, memory and input by the preloaded library."""

from __future__ import annotations

import ctypes
import os
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import msgspec

import turnwise

BENCH = f"{Path(__file__).parent}{os.sep}"
PRODUCT = f"{Path(turnwise.__file__).parent}{os.sep}"


class Kind(msgspec.Struct, frozen=True):
    """A counter: what it counts, and how much more than its baseline is never worth a failure, for one unit of work."""

    says: str
    allowance: float


COUNTERS = {
    "own_calls": Kind("calls of Turnwise's own Python functions", 2.0),
    "all_calls": Kind("all function calls in Python and into C, libraries included", 4.0),
    "allocations": Kind("blocks of memory asked for", 4.0),
    "allocated_bytes": Kind("bytes in them", 1024.0),
    "large_bytes": Kind("bytes in blocks of 64 KiB and more, which is what bodies are kept in", 2048.0),
    "copied_bytes": Kind("bytes copied within the process, in copies of 4 KiB and more", 2048.0),
    "io_calls": Kind("reads and writes of sockets", 1.0),
}


class Calls:
    """Counts calls while entered, but for those that the benchmark's own functions are or make."""

    def __init__(self) -> None:
        self._python: Counter[CodeType] = Counter()
        self._into_c: Counter[CodeType] = Counter()

    def __enter__(self) -> Self:
        python, into_c = self._python, self._into_c

        def count(frame: FrameType, event: str, _: Any) -> None:
            if event == "call":
                python[frame.f_code] += 1
            elif event == "c_call":
                into_c[frame.f_code] += 1

        sys.setprofile(count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def counts(self) -> Counter[str]:
        """What was counted, by counter."""
        own = sum(number for code, number in self._python.items() if is_own(code))
        every = sum(number for calls in (self._python, self._into_c) for code, number in calls.items() if not is_bench(code))
        return Counter(own_calls=own, all_calls=every)

    def functions(self) -> Counter[str]:
        """Calls of each function and from it into C, by the function's place in the code."""
        found: Counter[str] = Counter()
        for what, calls in (("", self._python), (" into C", self._into_c)):
            for code, number in calls.items():
                if not is_bench(code):
                    place = "/".join(Path(code.co_filename).parts[-3:])
                    found[f"{place}:{code.co_firstlineno} {code.co_qualname}{what}"] += number
        return found


def is_own(code: CodeType) -> bool:
    """Whether it is a function of Turnwise."""
    return code.co_filename.startswith(PRODUCT)


def is_bench(code: CodeType) -> bool:
    """Whether it is a function of this benchmark."""
    return code.co_filename.startswith(BENCH)


_NAMES = ("allocations", "allocated_bytes", "large_bytes", "copied_bytes", "io_calls")
"""As in `struct counts` of counter.c."""


class _Counts(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_ulong) for name in ("allocations", "allocated_bytes", "large_bytes", "copied_bytes", "io_calls")
    ]


class Memory:
    """Counts what this thread asks of the C library while entered.

    Raises `RuntimeError` where the library does not stand in front of it: it must be preloaded, and `PYTHONMALLOC` be `malloc`.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.counter_start.restype = self._library.counter_stop.restype = None
        self._counts = _Counts()
        self._into = ctypes.byref(self._counts)
        with self:
            block = bytearray(1 << 20)
        if self._counts.large_bytes < len(block):
            raise RuntimeError(f"{library} counts nothing: preload it with LD_PRELOAD")
        with self:
            objects = [object() for _ in range(100)]
        if self._counts.allocations < len(objects):
            raise RuntimeError("blocks of Python are not counted: set PYTHONMALLOC=malloc")

    def __enter__(self) -> Self:
        self._library.counter_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._library.counter_stop(self._into)

    def counts(self) -> Counter[str]:
        """What was counted, by counter."""
        return Counter({name: int(getattr(self._counts, name)) for name in _NAMES})
