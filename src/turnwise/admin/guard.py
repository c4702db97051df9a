"""What every request of the admin port meets first: no other site's page acts here, and every error is JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from turnwise.admin.answers import error_text, quoted

_PARAMS = {404: "path", 405: "method", 413: "body"}
"""What errors of aiohttp are about."""


@web.middleware
async def guarded(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Hand a request on; raises HTTP 403 for one that changes something and comes from the page of another host."""
    origin = request.headers.get("origin")
    if origin is not None and request.method != "GET" and not _is_own(origin, request.host):
        text = error_text(f"pages of `{quoted(origin)}` may not act here, on `{quoted(request.host)}`", "origin")
        raise web.HTTPForbidden(text=text, content_type="application/json")
    try:
        return await handler(request)
    except web.HTTPError as error:
        if error.content_type != "application/json":
            error.text = error_text(_said(request, error), _PARAMS.get(error.status, ""))
            error.content_type = "application/json"
        raise


@web.middleware
async def alone(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Raise HTTP 400 where one of several workers is asked for: this process is one, and its answer would pass for that."""
    if "worker" in request.query:
        text = error_text("there is one process here, so `worker` chooses nothing", "worker")
        raise web.HTTPBadRequest(text=text, content_type="application/json")
    return await handler(request)


def _is_own(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _said(request: web.Request, error: web.HTTPError) -> str:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"`{quoted(request.path)}` takes {', '.join(sorted(error.allowed_methods))}, not {quoted(error.method)}"
    if error.status == 404:
        return f"there is no `{quoted(request.path)}` here"
    return error.text or error.reason
