"""The few text fields of a form beside its files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from turnwise.types import Headers

MAX_PARTS = 64
"""A call that sends sound has a dozen fields; a form of more is not read."""

MAX_HEAD_BYTES = 1024
"""Longest head of a part that is looked at."""

MAX_VALUE_BYTES = 256
"""Longest value that is looked at; what is longer is a file or a text."""

_CONTENT_TYPE = re.compile(
    rb'multipart/form-data[ \t]*;(?:[^,]*;)?[ \t]*boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE
)
_DISPOSITION = re.compile(rb'\r\ncontent-disposition:[ \t]*form-data[ \t]*;[ \t]*name="(\w+)"[ \t]*(?:\r\n|$)', re.IGNORECASE)


def fields(body: bytes, headers: Headers) -> dict[str, str]:
    """The short text fields of a form; empty where the body is none that can be read.

    A field given twice is left out: frameworks differ on which of the two wins. The body is searched once, never copied.
    """
    found: dict[str, str | None] = {}
    for name, value in _pairs(body, _boundary(headers)):
        found[name] = None if name in found else value
    return {name: value for name, value in found.items() if value is not None}


def _boundary(headers: Headers) -> bytes | None:
    for name, value in headers:
        if name.lower() == b"content-type" and (match := _CONTENT_TYPE.match(value)):
            return match[1] or match[2]
    return None


def _pairs(body: bytes, boundary: bytes | None) -> Iterator[tuple[str, str]]:
    if boundary is None or not body.startswith(b"--" + boundary):
        return
    delimiter = b"\r\n--" + boundary
    at = len(delimiter) - 2
    for _ in range(MAX_PARTS):
        end = body.find(delimiter, at)
        if end < 0:
            return
        start = body.find(b"\r\n\r\n", at, min(end, at + MAX_HEAD_BYTES)) + 4
        if start >= 4 and end - start <= MAX_VALUE_BYTES:
            name = _DISPOSITION.search(body, at, start - 4)
            if name is not None:
                yield name[1].decode(), body[start:end].decode("utf-8", "replace")
        at = end + len(delimiter)
