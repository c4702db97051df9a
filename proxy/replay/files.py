"""Opens trace files, plain or gzip, and reads their lines with the place of what is wrong in them."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from turnwise.proxy.replay.trace import TraceError

Record = TypeVar("Record")

_GZIP_MAGIC = b"\x1f\x8b"
MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longest line read; a session of the largest trace takes half a megabyte."""


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1; raises `TraceError` for a file that cannot be read to its end."""
    number = 0
    try:
        with path.open("rb") as plain:
            is_gzip = plain.read(2) == _GZIP_MAGIC
            plain.seek(0)
            with gzip.open(plain) if is_gzip else plain as lines:
                while line := lines.readline(MAX_LINE_BYTES):
                    number += 1
                    if len(line) == MAX_LINE_BYTES:
                        raise TraceError(str(path), number, f"is longer than {MAX_LINE_BYTES} bytes")
                    if line.strip():
                        yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(str(path), number + 1, f"the gzip data is truncated or damaged: {error}") from None
    except OSError as error:
        raise TraceError(str(path), None, error.strerror or str(error)) from None


def read_records(path: Path, decoder: msgspec.json.Decoder[Record]) -> Iterator[tuple[int, Record]]:
    """Lines of JSON as `decoder` reads them; raises `TraceError` naming file, line and what is wrong there."""
    for number, line in read_lines(path):
        try:
            yield number, decoder.decode(line)
        except msgspec.ValidationError as error:
            raise TraceError(str(path), number, f"is not of this format: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TraceError(str(path), number, f"is not valid JSON: {error}") from None


def read_whole(path: Path, decoder: msgspec.json.Decoder[Record]) -> Record:
    """A file that is one JSON document; raises `TraceError`, with the line where the JSON breaks off."""
    lines = list(read_lines(path))
    text = b"".join(line for _number, line in lines)
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise TraceError(str(path), None, f"is not of this format: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TraceError(str(path), _line_of(error, lines), f"is not valid JSON: {error}") from None


def _line_of(error: Exception, lines: list[tuple[int, bytes]]) -> int | None:
    """The line at whose bytes the decoder stopped, else the last one."""
    found = re.search(r"\(byte (\d+)\)", str(error))
    left = int(found[1]) if found else sum(len(line) for _number, line in lines)
    for number, line in lines:
        left -= len(line)
        if left < 0:
            return number
    return lines[-1][0] if lines else None
