"""Asking the admin port of a running proxy."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TypeVar

from turnwise.admin import asking
from turnwise.admin.asking import Whom, url_of
from turnwise.settings import Server

PROXY = Whom("proxy", "is `turnwise serve` running, and is this its admin port (--admin, server.admin_port)?")

T = TypeVar("T")


def add_admin(parser: argparse.ArgumentParser) -> None:
    """Declare the flag that says where the admin port is."""
    parser.add_argument("--admin", metavar="URL", help="the proxy's admin port; as set for `serve` by default")


def admin_url(asked: str | None, server: Server) -> str:
    """Where the admin port is: as `asked` for, else as set."""
    return asked or url_of(server.admin_host, server.admin_port)


def ask(url: str, path: str, kind: type[T], *, method: str = "GET", query: Mapping[str, str] | None = None) -> T:
    """What the proxy's admin port at `url` answers, as `kind`; raises `NoAnswer`, and `Refused` where it says why not."""
    return asking.ask(url, path, kind, PROXY, method=method, query=query)
