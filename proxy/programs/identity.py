"""What a client says of who is calling: names in headers and hints, each checked and none believed across tenants."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b

import msgspec

from turnwise import names
from turnwise.proxy.programs.traceparent import MAX_BAGGAGE_BYTES, ClientSpan, members, parse
from turnwise.proxy.programs.values import Basis
from turnwise.settings import ProgramSettings
from turnwise.turns import Hints

MAX_ID_CHARS = 128
MAX_BAGGAGE_ID_CHARS = 64
MAX_METADATA_BYTES = 4096
"""Longest JSON text in a header or a body's member that is looked into for ids."""

BAGGAGE_IDS = (names.BAGGAGE_PROGRAM.encode(), b"program.id")
"""Members of the baggage that name a program, in the order in which they are believed."""

_SPACE = " \t"
_OLD_SESSION = "_session_"
"""Stands before the session in the user ids of older versions of one client."""


class Ignored(StrEnum):
    """Why something that a client said of itself was left out."""

    TOO_LONG = "too_long"
    UNPRINTABLE = "unprintable"
    """It holds control characters, or is no UTF-8."""
    EMPTY = "empty"
    MALFORMED = "malformed"
    """It is not of the form that its header has."""


class Claims(msgspec.Struct, frozen=True, gc=False):
    """What a call says of itself; empty or None where it says nothing that can be taken."""

    tenant: str = ""
    name: str = ""
    """Of its program."""
    basis: Basis = Basis.NEW
    """What gave `name`."""
    session: str = ""
    parent_session: str = ""
    """The session that began its own."""
    agent: str = ""
    span: ClientSpan | None = None
    is_retry: bool = False
    """Whether the client's library says that it asks again."""
    is_session_shared: bool = False
    """Whether `session` is a cache key, which some clients give to all conversations that begin alike."""


NO_CLAIMS = Claims()
"""A call that says nothing."""


class _CodexTurn(msgspec.Struct, gc=False):
    root_turn_id: str = ""
    session_id: str = ""
    thread_id: str = ""
    agent_name: str = ""


class _UserId(msgspec.Struct, gc=False):
    session_id: str = ""


_CODEX_TURN = msgspec.json.Decoder(_CodexTurn)
_USER_ID = msgspec.json.Decoder(_UserId)


class Identity:
    """Reads claims; counts what it leaves out in `ignored`."""

    def __init__(self, settings: ProgramSettings) -> None:
        self.ignored: dict[Ignored, int] = dict.fromkeys(Ignored, 0)
        self._tenant_headers = tuple(name.encode() for name in settings.tenant_headers)
        self._session_headers = tuple(name.encode() for name in settings.session_headers)
        self.headers = frozenset(
            (
                names.HEADER_PROGRAM,
                names.HEADER_AGENT,
                names.HEADER_CLAUDE_AGENT,
                names.HEADER_CODEX_TURN,
                names.HEADER_PARENT_SESSION,
                names.HEADER_TRACEPARENT,
                names.HEADER_BAGGAGE,
                names.HEADER_RETRY_COUNT,
                *self._session_headers,
            )
        )
        """Those that are read, but those of tenants."""
        self.tenant_headers = frozenset(self._tenant_headers)

    def claims(self, fields: Mapping[bytes, bytes], hints: Hints) -> Claims:
        """Read what headers, by lower-case name, and hints say."""
        tenant = self._tenant(fields)
        if self.headers.isdisjoint(fields):
            if hints.user_id is None and hints.cache_key is None:
                return Claims(tenant) if tenant else NO_CLAIMS
            session, is_shared = self._session_in(hints)
            return Claims(tenant, session=session, is_session_shared=is_shared)
        retries = fields.get(names.HEADER_RETRY_COUNT)
        is_retry = retries is not None and retries not in _FIRST_TRY
        codex = self._codex_turn(fields.get(names.HEADER_CODEX_TURN))
        name, basis = self._name(fields, codex)
        session, is_shared = self._session(fields, codex, hints)
        return Claims(
            tenant,
            name,
            basis,
            session,
            self._header(fields, names.HEADER_PARENT_SESSION),
            self._header(fields, names.HEADER_AGENT)
            or self._header(fields, names.HEADER_CLAUDE_AGENT)
            or self._checked(codex.agent_name),
            self._span(fields.get(names.HEADER_TRACEPARENT)),
            is_retry,
            is_shared,
        )

    def _tenant(self, fields: Mapping[bytes, bytes]) -> str:
        for name in self._tenant_headers:
            value = fields.get(name)
            if value:
                return blake2b(value, digest_size=8).hexdigest()
        return ""

    def _name(self, fields: Mapping[bytes, bytes], codex: _CodexTurn) -> tuple[str, Basis]:
        name = self._header(fields, names.HEADER_PROGRAM)
        if name:
            return name, Basis.NAMED
        name = self._baggage(fields.get(names.HEADER_BAGGAGE))
        if name:
            return name, Basis.BAGGAGE
        name = self._checked(codex.root_turn_id)
        return (name, Basis.ROOT_TURN) if name else ("", Basis.NEW)

    def _baggage(self, value: bytes | None) -> str:
        if value is None:
            return ""
        if len(value) > MAX_BAGGAGE_BYTES:
            return self._ignore(Ignored.TOO_LONG)
        found: dict[bytes, bytes] = {}
        for member in members(value):
            if member is None:
                self._ignore(Ignored.MALFORMED)
            elif member[0] in BAGGAGE_IDS:
                found.setdefault(*member)
        for key in BAGGAGE_IDS:
            if key in found and (name := self._decoded(found[key], MAX_BAGGAGE_ID_CHARS)):
                return name
        return ""

    def _codex_turn(self, value: bytes | None) -> _CodexTurn:
        if value is None:
            return _NO_CODEX_TURN
        if len(value) > MAX_METADATA_BYTES:
            self._ignore(Ignored.TOO_LONG)
            return _NO_CODEX_TURN
        try:
            return _CODEX_TURN.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._ignore(Ignored.MALFORMED)
            return _NO_CODEX_TURN

    def _session(self, fields: Mapping[bytes, bytes], codex: _CodexTurn, hints: Hints) -> tuple[str, bool]:
        """The session, and whether it is a cache key."""
        for header in self._session_headers:
            session = self._header(fields, header)
            if session:
                return session, False
        session = self._checked(codex.session_id) or self._checked(codex.thread_id)
        return (session, False) if session else self._session_in(hints)

    def _session_in(self, hints: Hints) -> tuple[str, bool]:
        """The session that a body names, and whether it is a cache key; a plain user's id is none, for a user has many."""
        user_id = hints.user_id
        if user_id is not None and len(user_id) <= MAX_METADATA_BYTES:
            if user_id.startswith("{"):
                try:
                    session = self._checked(_USER_ID.decode(user_id).session_id)
                except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
                    session = self._ignore(Ignored.MALFORMED)
            else:
                session = self._checked(user_id.rpartition(_OLD_SESSION)[2]) if _OLD_SESSION in user_id else ""
            if session:
                return session, False
        elif user_id is not None:
            self._ignore(Ignored.TOO_LONG)
        session = self._checked(hints.cache_key or "")
        return session, bool(session)

    def _span(self, value: bytes | None) -> ClientSpan | None:
        if value is None:
            return None
        span = parse(value)
        if span is None:
            self._ignore(Ignored.MALFORMED)
        return span

    def _header(self, fields: Mapping[bytes, bytes], name: bytes) -> str:
        value = fields.get(name)
        return "" if value is None else self._decoded(value, MAX_ID_CHARS)

    def _decoded(self, value: bytes, max_chars: int) -> str:
        if len(value) > 4 * max_chars:  # no character of UTF-8 takes more than four bytes
            return self._ignore(Ignored.TOO_LONG)
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return self._ignore(Ignored.UNPRINTABLE)
        return self._checked(text, max_chars) or self._ignore_empty(text)

    def _ignore_empty(self, text: str) -> str:
        return "" if text.strip(_SPACE) else self._ignore(Ignored.EMPTY)

    def _checked(self, text: str, max_chars: int = MAX_ID_CHARS) -> str:
        """An id as it is kept, without white space around it; empty where it cannot be taken."""
        text = text.strip(_SPACE)
        if len(text) > max_chars:
            return self._ignore(Ignored.TOO_LONG)
        return text if text.isprintable() else self._ignore(Ignored.UNPRINTABLE)

    def _ignore(self, why: Ignored) -> str:
        self.ignored[why] += 1
        return ""


_FIRST_TRY = frozenset({b"0", b""})
_NO_CODEX_TURN = _CodexTurn()
