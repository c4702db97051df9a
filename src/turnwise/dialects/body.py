"""The top level of a JSON body: where each member lies, without building the tree below it."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from turnwise.errors import ClientFault

T = TypeVar("T")

MAX_MEMBERS = 256
"""No API has so many arguments; without a bound, a body of tiny members would hold the loop for seconds."""

_OPENING = re.compile(rb"[ \t\n\r]*\{")
_KEY = re.compile(rb'[ \t\n\r]*"([^"\\]*+(?:\\.[^"\\]*+)*+)"[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_AFTER_VALUE = re.compile(rb"[ \t\n\r]*(?:,|\})")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


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

    def __init__(self, document: bytes, *, path: str = "") -> None:
        self.document = document
        self._path = path
        values = _decode_object(document)
        opening = _OPENING.match(document)
        assert opening is not None, "the decoder has seen an object"
        self.inner_start = opening.end()
        """Offset just behind the opening brace."""
        self.members: dict[str, Member] = self._locate(values)

    def _locate(self, values: dict[str, msgspec.Raw]) -> dict[str, Member]:
        """Walk the members in the order of the document.

        The decoder keeps the last of two values of one name. So the walk, which steps over the value that the decoder kept,
        meets other bytes, or a name for the second time, exactly where a name is repeated.
        """
        found: dict[str, Member] = {}
        at = self.inner_start
        while key := _KEY.match(self.document, at):
            name = _unescape(key[1])
            raw = memoryview(values[name])
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

    def raw(self, name: str) -> memoryview | None:
        """Raw bytes of a member; None where it is absent or null."""
        member = self.members.get(name)
        return None if member is None or member.is_null else member.raw

    def typed(self, name: str, decoder: msgspec.json.Decoder[T], expected: str) -> T | None:
        """A member decoded; None where it is absent or null. Raises `ClientFault` saying what was expected."""
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            return decoder.decode(raw)
        except msgspec.MsgspecError:
            raise self.fault(name, f"must be {expected}") from None


def _decode_object(document: bytes) -> dict[str, msgspec.Raw]:
    try:
        if not document.isascii():
            document.decode()  # raw values are never decoded, so nothing else would notice bytes that are not UTF-8
        values = _OBJECT.decode(document)
    except UnicodeDecodeError as error:
        raise _bad_body(f"is not valid UTF-8 (byte {error.start})") from None
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
