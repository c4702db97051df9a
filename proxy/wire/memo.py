"""Results of a pure function for what was seen before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound="bytes | tuple[bytes, bytes]")
Value = TypeVar("Value")

MAX_ENTRIES = 4096
MAX_KEY_BYTES = 512


class Memo(dict[Key, Value], Generic[Key, Value]):
    """`memo[key]` is `make(key)`, made once for as long as it is remembered; what `make` raises is never remembered.

    Header lines repeat from request to request, credentials among them, so a memo of lines keeps secrets in the memory of this
    process, as its buffers do. It is bounded: long keys are not kept, and a full memo is emptied, for lines that never repeat
    fill it and the others are soon back. That is at most about 10 MB for each memo, and hundreds of kilobytes in practice.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Key], Value]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Key) -> Value:
        """Make what is not known and remember it."""
        value = self._make(key)
        size = len(key) if isinstance(key, bytes) else len(key[0]) + len(key[1])
        if size <= MAX_KEY_BYTES:
            if len(self) >= MAX_ENTRIES:
                self.clear()
            self[key] = value
        return value
