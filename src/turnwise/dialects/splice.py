"""What is spliced into bodies, exact to the byte everywhere else: asking for usage, and for a full report of cached blocks."""

from __future__ import annotations

import msgspec

from turnwise.dialects.body import Body, Member
from turnwise.errors import ClientFault

_ASK = b'"include_usage":true'
_UNASKED = (b"false", b"null")
_EXTRAS, _MODE = "vllm_xargs", "kv_cache_report_mode"
_REPORT = b'"kv_cache_report_mode":"full"'
_AS_CLIENTS_ASK = (b'{"include_usage":true}', b'{"include_usage": true}')


class _Extras(msgspec.Struct, gc=False):
    kv_cache_report_mode: msgspec.Raw = msgspec.Raw(b"")


_XARGS = msgspec.json.Decoder(_Extras)


class Splice(msgspec.Struct, frozen=True, gc=False):
    """New bytes in place of those from `start` to `end`."""

    start: int
    end: int
    new: bytes

    def into(self, document: bytes, shift: int = 0) -> bytes:
        """The document with the new bytes in it, `shift` bytes further on."""
        view = memoryview(document)
        return b"".join((view[: self.start + shift], self.new, view[self.end + shift :]))


def usage_splice(body: Body) -> Splice | None:
    """What sets `stream_options.include_usage` in a body; None where it must stay as it is.

    It stays where the client asks for usage itself, where `stream_options` is of a wrong type (the engine says so better),
    and where the client wants `continuous_usage_stats`: without `include_usage` the engine ignores that wish, and with it
    every chunk would carry usage that the client has not asked for.
    """
    raw = body.values.get("stream_options")
    if raw is None:
        return Splice(body.inner_start, body.inner_start, b'"stream_options":{' + _ASK + b"},")
    if bytes(raw) in _AS_CLIENTS_ASK:
        return None
    options = body.members["stream_options"]
    if options.is_null:
        return Splice(options.start, options.end, b"{" + _ASK + b"}")
    if bytes(options.raw[:1]) != b"{":
        return None
    return _within(options)


def asks_report(body: Body) -> bool:
    """Whether a body asks vLLM to announce again what it has cached of the prompt (`vllm_xargs.kv_cache_report_mode: full`)."""
    raw = body.values.get(_EXTRAS)
    if raw is None or bytes(memoryview(raw)[:1]) != b"{":
        return False
    try:
        return bytes(_XARGS.decode(raw).kv_cache_report_mode) == b'"full"'
    except msgspec.MsgspecError:
        return False


def report_splice(body: Body) -> Splice | None:
    """What makes a body ask for that; None where it must stay as it is.

    It stays where the client chooses a mode itself, and where its `vllm_xargs` are of a wrong type (the engine says so better).
    """
    raw = body.values.get(_EXTRAS)
    if raw is None:
        return Splice(body.inner_start, body.inner_start, b'"vllm_xargs":{' + _REPORT + b"},")
    extras = body.members[_EXTRAS]
    if extras.is_null:
        return Splice(extras.start, extras.end, b"{" + _REPORT + b"}")
    if bytes(extras.raw[:1]) != b"{":
        return None
    inner = Body(bytes(extras.raw), path="vllm_xargs.")
    if _MODE in inner.values:
        return None
    at = extras.start + inner.inner_start
    return Splice(at, at, _REPORT + (b"," if inner.values else b""))


def with_report(document: bytes) -> bytes | None:
    """A body that asks for a full report; None where it must stay as it is."""
    try:
        splice = report_splice(Body(document))
    except ClientFault:  # `vllm_xargs` that name a member twice: the engine takes one of them
        return None
    return None if splice is None else splice.into(document)


def _within(options: Member) -> Splice | None:
    inner = Body(bytes(options.raw), path="stream_options.")
    continuous = inner.raw("continuous_usage_stats")
    if continuous is not None and bytes(continuous) != b"false":
        return None
    asked = inner.members.get("include_usage")
    if asked is None:
        at = options.start + inner.inner_start
        return Splice(at, at, _ASK + (b"," if inner.members else b""))
    if bytes(asked.raw) not in _UNASKED:
        return None
    return Splice(options.start + asked.start, options.start + asked.end, b"true")
