"""Results of a pure function for what was seen before."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_ENTRIES = 4096
MAX_KEY_BYTES = 512


def _size(key: bytes | tuple[bytes, bytes]) -> int:
    return len(key) if isinstance(key, bytes) else len(key[0]) + len(key[1])


class Memo(dict[Key, Value], Generic[Key, Value]):
    """`memo[key]` is `make(key)`, made once for as long as it is remembered; what `make` raises is never remembered.

    Header lines repeat from request to request, credentials among them, so a memo of lines keeps secrets in the memory of this
    process, as its buffers do. It is bounded: keys longer than `max_key_bytes` by `size` are not kept, and one that is full is
    emptied, for lines that never repeat fill it and the others are soon back. That is at most about 10 MB for each memo, and
    hundreds of kilobytes in practice.
    """

    __slots__ = ("_make", "_max_entries", "_max_key_bytes", "_size")

    def __init__(
        self,
        make: Callable[[Key], Value],
        *,
        size: Callable[[Any], int] = _size,
        max_entries: int = MAX_ENTRIES,
        max_key_bytes: int = MAX_KEY_BYTES,
    ) -> None:
        super().__init__()
        self._make = make
        self._size = size
        self._max_entries = max_entries
        self._max_key_bytes = max_key_bytes

    def __missing__(self, key: Key) -> Value:
        """Make what is not known and remember it."""
        value = self._make(key)
        if self._size(key) <= self._max_key_bytes:
            if len(self) >= self._max_entries:
                self.clear()
            self[key] = value
        return value
