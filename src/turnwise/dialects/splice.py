"""Asking a stream for its usage: one of the listed edits, exact to the byte everywhere else."""

from __future__ import annotations

from turnwise.dialects.body import Body, Member

_ASK = b'"include_usage":true'
_UNASKED = (b"false", b"null")
_AS_CLIENTS_ASK = (b'{"include_usage":true}', b'{"include_usage": true}')


def with_usage(body: Body) -> bytes | None:
    """The body with `stream_options.include_usage` set; None where it must stay as it is.

    It stays where the client asks for usage itself, where `stream_options` is of a wrong type (the engine says so better),
    and where the client wants `continuous_usage_stats`: without `include_usage` the engine ignores that wish, and with it
    every chunk would carry usage that the client has not asked for.
    """
    raw = body.values.get("stream_options")
    if raw is None:
        return _replace(body.document, body.inner_start, body.inner_start, b'"stream_options":{' + _ASK + b"},")
    if bytes(raw) in _AS_CLIENTS_ASK:
        return None
    options = body.members["stream_options"]
    if options.is_null:
        return _replace(body.document, options.start, options.end, b"{" + _ASK + b"}")
    if bytes(options.raw[:1]) != b"{":
        return None
    return _with_usage_in(body.document, options)


def _with_usage_in(document: bytes, options: Member) -> bytes | None:
    inner = Body(bytes(options.raw), path="stream_options.")
    continuous = inner.raw("continuous_usage_stats")
    if continuous is not None and bytes(continuous) != b"false":
        return None
    asked = inner.members.get("include_usage")
    if asked is None:
        at = options.start + inner.inner_start
        return _replace(document, at, at, _ASK + (b"," if inner.members else b""))
    if bytes(asked.raw) not in _UNASKED:
        return None
    return _replace(document, options.start + asked.start, options.start + asked.end, b"true")


def _replace(document: bytes, start: int, end: int, new: bytes) -> bytes:
    view = memoryview(document)
    return b"".join((view[:start], new, view[end:]))
