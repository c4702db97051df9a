"""Step 1: a raw request becomes a `Request`: its dialect, its prompt chain, its ids."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from itertools import count

from turnwise import names
from turnwise.dialects import DIALECTS, Route
from turnwise.dialects.base import ReadCall
from turnwise.index import prompt_chain
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits
from turnwise.types import CallId, Headers, Prompt, PromptChain, Request, SegmentKind

VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

SESSION_HEADERS = (
    b"x-session-affinity",
    names.HEADER_STAMP,  # some clients name their session in the very header that stamps
    b"session-id",
    b"thread-id",
    b"x-claude-code-session-id",
)
"""Headers by which known clients name a session, in the order in which they are believed."""


def new_ids(prefix: str) -> Callable[[], str]:
    """Make ids that no other process makes: a random head for the process, a counter for the call."""
    head = f"{prefix}{secrets.token_hex(6)}"
    numbers = count()
    return lambda: f"{head}{next(numbers):08x}"


def request_id(headers: Headers, new_id: Callable[[], str]) -> str:
    """Echo a valid inbound `x-request-id`, else make one. `x-client-request-id` is no id: one client repeats it."""
    value = header(headers, names.HEADER_REQUEST_ID)
    if value is not None and VALID_REQUEST_ID.fullmatch(value):
        return value.decode()
    return new_id()


def header(headers: Headers, name: bytes) -> bytes | None:
    """First value of a header field; `name` in lower case."""
    for key, value in headers:
        if len(key) == len(name) and key.lower() == name:
            return value
    return None


class Reader:
    """Reads requests; holds only what makes ids."""

    def __init__(self, edits: Edits) -> None:
        self._edits = edits
        self._new_call_id = new_ids("tw-")

    def read(self, raw: RawRequest, route: Route, request_id: str) -> Request:
        """Read one request; raises `ClientFault` naming what is wrong with its body."""
        call = self._call(raw, route)
        chain = None if call.prompt is None else prompt_chain(call.prompt)
        return Request(
            call_id=CallId(self._new_call_id()),
            request_id=request_id,
            dialect=route.dialect,
            method=raw.method,
            target=raw.target,
            headers=raw.headers,
            body=call.body,
            arrived_at=raw.arrived_at,
            read_at=raw.read_at,
            model=call.model,
            chain=chain,
            is_stream=call.is_stream,
            num_choices=call.num_choices,
            max_tokens=call.max_tokens,
            continues=call.continues if route.response_id is None else (route.response_id,),
            is_stored=call.is_stored,
            unhashed_bytes=call.unhashed_bytes,
            session=_session(raw.headers, call.prompt, chain),
            wants_usage=not call.adds_usage,
            wants_debug=self._edits.debug_header or header(raw.headers, names.HEADER_DEBUG) in {b"1", b"true"},
        )

    def _call(self, raw: RawRequest, route: Route) -> ReadCall:
        if raw.method not in {"POST", "PUT", "PATCH"}:
            return ReadCall(body=raw.body)
        return DIALECTS[route.dialect].read(raw.body, raw.headers, splice_usage=self._edits.include_usage)


def _session(headers: Headers, prompt: Prompt | None, chain: PromptChain | None) -> str | None:
    """Name the session: by the client's header, else by the prompt up to its first user turn, which a session keeps."""
    for name in SESSION_HEADERS:
        value = header(headers, name)
        if value:
            return value.decode("latin-1")
    if prompt is None or chain is None:
        return None
    for segment, digest in zip(prompt.segments, chain.digests, strict=True):
        if segment.kind in {SegmentKind.USER, SegmentKind.TEXT, SegmentKind.TOKENS}:
            return digest.hex()
    return None
