"""How the admin API answers: JSON, and errors that say which field is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from aiohttp import web

MAX_DIGITS = 9
"""Of a number in a query."""

MAX_QUOTED_CHARS = 128
"""Of what a client sent, in a message."""


def as_json(value: object, status: int = 200) -> web.Response:
    """Encode `value` as the whole answer."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


_ERRORS: Mapping[int, type[web.HTTPException]] = {400: web.HTTPBadRequest, 404: web.HTTPNotFound, 409: web.HTTPConflict}


def refused(message: str, param: str, status: int = 400, **more: object) -> web.HTTPException:
    """An error to raise, in JSON: `status` is 400, 404 or 409, `param` the field that it is about, `more` stands beside it."""
    return _ERRORS[status](text=error_text(message, param, **more), content_type="application/json")


def error_text(message: str, param: str, **more: object) -> str:
    """The body of an error; `param` is the field that it is about, `more` stands beside it."""
    return msgspec.json.encode({"error": {"message": message, "param": param, **more}}).decode()


def whole_number(request: web.Request, name: str, default: int) -> int:
    """A whole number of the query; raises HTTP 400 naming it where it is none."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > MAX_DIGITS:
        raise refused(f"`{name}` must be a whole number", name)
    return int(text)


def one_of(request: web.Request, name: str, allowed: Collection[str]) -> str | None:
    """A word of the query, None where it is not there; raises HTTP 400 naming it where it is none of `allowed`."""
    text = request.query.get(name)
    if text is not None and text not in allowed:
        raise refused(f"`{name}` must be one of: {', '.join(allowed)}", name)
    return text


def only(request: web.Request, *known: str) -> None:
    """Raise HTTP 400 for a field of the query that nothing reads: a misspelt filter must not look like one that finds all."""
    for name in request.query:
        if name not in known:
            raise refused(f"there is no `{quoted(name)}` in this query; there are: {', '.join(known)}", quoted(name))


def quoted(text: str) -> str:
    """What a client sent, short enough for a message."""
    return text if len(text) <= MAX_QUOTED_CHARS else f"{text[:MAX_QUOTED_CHARS]}..."
