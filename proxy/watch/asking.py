"""Asking the admin port of a running proxy; says in one line what is wrong where it does not answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
import msgspec

from turnwise.settings import Server

TIMEOUT_S = 5.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""Addresses to listen on, and where a server that does is found."""

ADVICE = "is `turnwise serve` running, and is this its admin port (--admin, server.admin_port)?"

T = TypeVar("T")


class NoProxy(Exception):
    """No proxy answers where one was asked."""


class Refused(Exception):
    """The proxy answered with an error; `status` is that of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Error(msgspec.Struct, frozen=True):
    message: str


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


def add_admin(parser: argparse.ArgumentParser) -> None:
    """Declare the flag that says where the admin port is."""
    parser.add_argument("--admin", metavar="URL", help="the proxy's admin port; as set for `serve` by default")


def admin_url(asked: str | None, server: Server) -> str:
    """Where the admin port is: as `asked` for, else as set."""
    return asked or f"http://{ANYWHERE.get(server.admin_host, server.admin_host)}:{server.admin_port}"


def ask(url: str, path: str, kind: type[T], *, method: str = "GET", query: Mapping[str, str] | None = None) -> T:
    """What the admin port at `url` answers, as `kind`; raises `NoProxy`, and `Refused` where it says why not."""
    try:
        answer = httpx.request(method, f"{url.rstrip('/')}{path}", params=query, timeout=TIMEOUT_S, trust_env=False)
        if answer.is_client_error and (refusal := _refusal(answer.content)) is not None:
            raise Refused(refusal, answer.status_code)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=kind)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoProxy(f"no proxy answers at {url}: {str(error) or type(error).__name__}; {ADVICE}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoProxy(f"what answers at {url} is no proxy's admin port; {ADVICE}") from error


def write_json(value: Any) -> None:
    """Print JSON as people read it."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def complain(error: Exception) -> int:
    """Say on standard error what went wrong; returns the exit status."""
    sys.stderr.write(f"turnwise: {error}\n")
    return 1


def _refusal(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Refusal).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
