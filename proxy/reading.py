"""Step 1: a raw request becomes a `Request`: its dialect, its prompt chain, its ids."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from itertools import chain, count

from turnwise import names
from turnwise.dialects import DIALECTS, Route
from turnwise.dialects.base import ReadCall
from turnwise.index import prompt_chain
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits
from turnwise.types import CallId, Request

VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

SESSION_HEADERS = (
    b"x-session-affinity",
    names.HEADER_STAMP,  # some clients name their session in the very header that stamps
    b"session-id",
    b"thread-id",
    b"x-claude-code-session-id",
)
"""Headers by which known clients name a session, in the order in which they are believed."""


CALL_ID_PREFIX = "tw-"
"""How the id of every call of any Turnwise begins, and so the stamps of its KV events."""

IDS_AT_ONCE = 32

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_SESSION_HEADERS = frozenset(SESSION_HEADERS)
_TRUE = frozenset({b"1", b"true"})


def new_ids(prefix: str) -> Callable[[], str]:
    """Make ids that no other process makes: a random head for the process, a counter for the call.

    They are made in lots: the code that writes a number down is 140 cache lines that a call would fetch for one id alone.
    """
    head = f"{prefix}{secrets.token_hex(6)}"
    lots = ([f"{head}{number:08x}" for number in range(first, first + IDS_AT_ONCE)] for first in count(0, IDS_AT_ONCE))
    return chain.from_iterable(lots).__next__


def request_id(fields: Mapping[bytes, bytes], new_id: Callable[[], str]) -> str:
    """Echo a valid inbound `x-request-id`, else make one. `x-client-request-id` is no id: one client repeats it."""
    value = fields.get(names.HEADER_REQUEST_ID)
    if value is not None and VALID_REQUEST_ID.fullmatch(value):
        return value.decode()
    return new_id()


class Reader:
    """Reads requests; holds only what makes ids."""

    def __init__(self, edits: Edits) -> None:
        self._splices_usage = edits.include_usage
        self._explains = edits.debug_header
        self._new_call_id = new_ids(CALL_ID_PREFIX)

    def read(self, raw: RawRequest, route: Route, request_id: str) -> Request:
        """Read one request; raises `ClientFault` naming what is wrong with its body."""
        if raw.method in _WITH_BODY:
            call = DIALECTS[route.dialect].read(raw.body, raw.headers, splice_usage=self._splices_usage)
        else:
            call = ReadCall(raw.body)
        prompt, fields = call.prompt, raw.fields
        chain = None if prompt is None else prompt_chain(prompt)
        if call.growth is not None and prompt is not None and chain is not None:
            call.growth.keep(prompt.kinds, chain)
        # By position, in the order of `Request`: by name, twenty arguments take a microsecond more.
        return Request(
            CallId(self._new_call_id()),
            request_id,
            route.dialect,
            raw.method,
            raw.target,
            raw.headers,
            call.body,
            raw.arrived_at,
            raw.read_at,
            call.model,
            chain,
            call.is_stream,
            call.num_choices,
            call.max_tokens,
            _named_session(fields),
            not call.adds_usage,
            self._explains or fields.get(names.HEADER_DEBUG) in _TRUE,
            call.continues if route.response_id is None else (route.response_id,),
            call.is_stored,
            call.unhashed_bytes,
            call.asks_report,
            prompt,
            call.hints,
        )


def _named_session(fields: Mapping[bytes, bytes]) -> str | None:
    """The session as the client names it in a header."""
    if not _SESSION_HEADERS.isdisjoint(fields):
        for name in SESSION_HEADERS:
            value = fields.get(name)
            if value:
                return value.decode("latin-1")
    return None
