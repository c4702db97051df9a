"""The top level of a JSON body: its members, without building the tree below them."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from turnwise.errors import ClientFault
from turnwise.types import Raw

T = TypeVar("T")

MAX_MEMBERS = 256
"""No API has so many arguments; without a bound, a body of tiny members would hold the loop for seconds."""

_OPENING = re.compile(rb"[ \t\n\r]*\{")
_KEY = re.compile(rb'[ \t\n\r]*"([^"\\]*+(?:\\.[^"\\]*+)*+)"[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_AFTER_VALUE = re.compile(rb"[ \t\n\r]*(?:,|\})")
_OBJECT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Member(msgspec.Struct, frozen=True, gc=False):
    """The value of one top-level member: its raw bytes, and the offset at which they start."""

    start: int
    raw: memoryview

    @property
    def end(self) -> int:
        """Offset just behind the value."""
        return self.start + len(self.raw)

    @property
    def is_null(self) -> bool:
        """Whether the value is `null`, which every API takes as if the member were absent."""
        return len(self.raw) == 4 and bytes(self.raw) == b"null"


class Body:
    """A JSON object read once, O(bytes); values stay raw until asked for.

    `path` is put before member names in messages: `stream_options.` for an object inside a body.
    Raises `ClientFault` (400) where the bytes are no JSON object in UTF-8, or name one member twice: parsers differ on which
    of the two wins, and a proxy must not act on another one than the engine.
    """

    __slots__ = ("_located", "_path", "document", "values")

    def __init__(self, document: bytes, *, path: str = "") -> None:
        self.document = document
        self._path = path
        self._located: dict[str, Member] | None = None
        if not document.isascii():
            check_utf8(document)
        values = _decode_object(document)
        self.values: dict[str, Raw] = values
        """The raw value of each member, by name; `null` is a value here."""
        if not _cannot_repeat(document, values) and not _is_spaced_as_usual(document, values):
            self._located = self._locate()

    @property
    def inner_start(self) -> int:
        """Offset just behind the opening brace."""
        opening = _OPENING.match(self.document)
        assert opening is not None, "the decoder has seen an object"
        return opening.end()

    @property
    def members(self) -> dict[str, Member]:
        """Where each member lies; found on the first call."""
        if self._located is None:
            self._located = self._locate()
        return self._located

    def _locate(self) -> dict[str, Member]:
        """Walk the members in the order of the document.

        The decoder keeps the last of two values of one name. So the walk, which steps over the value that the decoder kept,
        meets other bytes, or a name for the second time, exactly where a name is repeated.
        """
        found: dict[str, Member] = {}
        at = self.inner_start
        while key := _KEY.match(self.document, at):
            name = _unescape(key[1])
            raw = memoryview(self.values[name])
            if name in found or not self.document.startswith(raw, key.end()):
                raise self._repeated(name)
            found[name] = member = Member(key.end(), raw)
            after = _AFTER_VALUE.match(self.document, member.end)
            if after is None:  # the walk stands inside a longer number: the first `12` of a pair whose second is `1`
                raise self._repeated(name)
            at = after.end()
        return found

    def _repeated(self, name: str) -> ClientFault:
        return self.fault(name, "is given twice")

    def fault(self, name: str, problem: str) -> ClientFault:
        """A 400 that names the member at fault."""
        param = f"{self._path}{name}"
        return ClientFault(f"`{param}` {problem}", param=param)

    def raw(self, name: str) -> Raw | None:
        """Raw bytes of a member; None where it is absent or null."""
        raw = self.values.get(name)
        return None if raw is None or (len(raw) == 4 and bytes(raw) == b"null") else raw

    def typed(self, name: str, decoder: msgspec.json.Decoder[T], expected: str) -> T | None:
        """A member decoded; None where it is absent or null. Raises `ClientFault` saying what was expected."""
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            return decoder.decode(raw)
        except msgspec.MsgspecError:
            raise self.fault(name, f"must be {expected}") from None


def _cannot_repeat(document: bytes, values: dict[str, Raw]) -> bool:
    """Whether a document is too short to name any of its members twice.

    The shortest spelling of its members takes two braces, and for each two quotes, a colon and a comma, less one comma. A
    repeated one takes as much again, and a value of one byte at least. Compact JSON leaves nothing over; spaces, line ends and
    escapes in names only make the document longer.
    """
    over = len(document) - 1 - 4 * len(values) - sum(map(len, values)) - sum(map(len, values.values()))
    return over < 5 or over < 5 + min(map(len, values), default=0)


def _is_spaced_as_usual(document: bytes, values: dict[str, Raw]) -> bool:
    """Whether a document is spelled as `{"a": 1, "b": 2}`, each member once; no other spelling is looked at.

    The decoder gives names in the order of the document, repeated ones at their first place.
    """
    at = 1
    for name, raw in values.items():
        key = b'"%b": ' % name.encode()
        if not document.startswith(key, at):
            return False
        at += len(key)
        if not document.startswith(raw, at):
            return False
        at += len(raw) + 2
        after = document[at - 2 : at]
        if after != b", ":
            return after == b"}"
    return False


def check_utf8(document: bytes) -> None:
    """Raise `ClientFault` for bytes that are not UTF-8: raw values are never decoded, so nothing else would notice."""
    try:
        document.decode()
    except UnicodeDecodeError as error:
        raise _bad_body(f"is not valid UTF-8 (byte {error.start})") from None


def _decode_object(document: bytes) -> dict[str, Raw]:
    try:
        values: dict[str, Raw] = _OBJECT.decode(document)
    except msgspec.ValidationError:
        raise _bad_body("must be a JSON object") from None
    except RecursionError:
        raise _bad_body("is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise _bad_body(_explain(error, len(document))) from None
    if len(values) > MAX_MEMBERS:
        raise _bad_body(f"has more than {MAX_MEMBERS} members")
    return values


def _explain(error: Exception, num_bytes: int) -> str:
    detail = str(error).removeprefix("JSON is malformed: ")
    if "(byte " in detail:
        return f"is not valid JSON: {detail}"
    # The decoder gives no position where input ends early, and says the same of half a surrogate pair near the end.
    return f"is not valid JSON: it ends inside a value, or in half of a surrogate pair (byte {num_bytes})"


def _bad_body(problem: str) -> ClientFault:
    return ClientFault(f"the body {problem}", param="body")


def _unescape(key: bytes) -> str:
    if b"\\" not in key:
        return key.decode()
    decoded: Any = msgspec.json.decode(b'"' + key + b'"')
    return str(decoded)
