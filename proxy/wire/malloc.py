"""The C allocator, tuned for bodies of hundreds of kilobytes."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_MIB = 1024 * 1024


def tune() -> bool:
    """Make glibc keep freed memory; returns whether it obeyed (False with any other C library).

    By default glibc maps each block above 128 KiB anew and hands it back when freed, so a large body is paid for in page
    faults: relaying 600 KB costs 770 us of CPU so, and 196 us with blocks taken from a heap that is kept.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    results = (
        libc.mallopt(_M_MMAP_THRESHOLD, 64 * _MIB),
        libc.mallopt(_M_TRIM_THRESHOLD, 256 * _MIB),
        libc.mallopt(_M_TOP_PAD, 8 * _MIB),
    )
    return all(result == 1 for result in results)
