"""Asking an admin port; says in one line what is wrong where it does not answer."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
import msgspec

TIMEOUT_S = 5.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""Addresses to listen on, and where a server that does is found."""

_NUMBER = re.compile(r"^\[Errno -?\d+\] ")
"""What the system's words begin with, and nobody reads."""

T = TypeVar("T")


class NoAnswer(Exception):
    """Nobody of the kind that was asked for answers."""


class Refused(Exception):
    """The port answered with an error; `status` is that of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Whom(msgspec.Struct, frozen=True):
    """Who is asked, for people."""

    name: str
    advice: str
    """What to look at where it does not answer."""


class _Error(msgspec.Struct, frozen=True):
    message: str
    code: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


def url_of(host: str, port: int) -> str:
    """Where a server that listens on this address and port is found."""
    return f"http://{ANYWHERE.get(host, host)}:{port}"


def ask(url: str, path: str, kind: type[T], whom: Whom, *, method: str = "GET", query: Mapping[str, str] | None = None) -> T:
    """What the admin port at `url` answers, as `kind`; raises `NoAnswer`, and `Refused` where it says why not."""
    try:
        answer = httpx.request(method, f"{url.rstrip('/')}{path}", params=query, timeout=TIMEOUT_S, trust_env=False)
        # The client port of a proxy answers in errors too, of an API's shape: these have a code.
        if answer.is_client_error and (refusal := _refusal(answer.content)) is not None and refusal.code is None:
            raise Refused(refusal.message, answer.status_code)
        if answer.is_server_error:
            raise NoAnswer(f"no {whom.name} answers at {url}: {answer.status_code} {answer.reason_phrase}; {whom.advice}")
        return msgspec.json.decode(answer.raise_for_status().content, type=kind)
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise NoAnswer(f"--admin {url}: write http://host:port") from error
    except (httpx.HTTPStatusError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoAnswer(f"what answers at {url} is no {whom.name}'s admin port; {whom.advice}") from error
    except httpx.HTTPError as error:
        why = _NUMBER.sub("", str(error)) or type(error).__name__
        raise NoAnswer(f"no {whom.name} answers at {url}: {why}; {whom.advice}") from error


def write_json(value: Any) -> None:
    """Print JSON as people read it."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def complain(error: Exception) -> int:
    """Say on standard error what went wrong; returns the exit status."""
    sys.stderr.write(f"turnwise: {error}\n")
    return 1


def _refusal(body: bytes) -> _Error | None:
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
