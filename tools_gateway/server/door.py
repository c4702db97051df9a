"""What every request must pass before anything reads it: where it was sent, by which page, and who asks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken

from turnwise.tools_gateway.ports import Tokens
from turnwise.tools_gateway.server.asgi import App, Headers, Receive, Scope, Send, send_json, send_text
from turnwise.tools_gateway.values import JsonObject, Principal

LOOPBACK_HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}")
"""The port may be another than ours: containers and tunnels map it, and a page that rebinds its name keeps the name."""
LOOPBACK_ORIGIN = re.compile(rb"https?://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")
CREDENTIALS = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
ONCE = (b"host", b"authorization", b"origin")
METADATA_PATH = "/.well-known/oauth-protected-resource"
PRINCIPAL = "turnwise.principal"
"""Where a request's scope has who asks."""
UNNAMED = Principal("")


class Door:
    """Lets requests through to `app` at `path`, without the credentials that they came with.

    `tokens` is None where nobody need say who they are. `metadata` is the document of the protected resource (RFC 9728); None
    where no authorization server is named.
    """

    def __init__(
        self,
        app: App,
        *,
        path: str,
        hosts: Sequence[str] = (),
        origins: Sequence[str] = (),
        tokens: Tokens | None = None,
        metadata: JsonObject | None = None,
    ) -> None:
        self._app = app
        self._path = path
        self._hosts = frozenset(host.encode() for host in hosts)
        self._origins = frozenset(origin.encode() for origin in origins)
        self._tokens = tokens
        self._metadata = metadata
        challenge = "Bearer"
        if metadata is not None:
            where = str(metadata["resource"]).removesuffix(path)
            challenge = f'Bearer resource_metadata="{where}{METADATA_PATH}{path}"'
        self._challenge: Headers = [(b"www-authenticate", challenge.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            return
        # Blanks around a value are no part of it (RFC 9110, section 5.5); the parser leaves those behind it.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        by_name = dict(headers)
        # Of two lines what stands before the gateway may have read the other.
        if any(sum(each == name for each, _ in headers) > 1 for name in ONCE):
            await send_text(send, 400, "A request has one Host, and at most one Authorization and Origin.")
            return
        host = by_name.get(b"host", b"")
        if not (LOOPBACK_HOST.fullmatch(host) or host in self._hosts):
            await send_text(send, 421, "This gateway does not answer under that name.")
            return
        origin = by_name.get(b"origin")
        if origin is not None and not (LOOPBACK_ORIGIN.fullmatch(origin) or origin in self._origins):
            await send_text(send, 403, "Pages of that origin may not use this gateway.")
            return
        if scope["path"] in {METADATA_PATH, METADATA_PATH + self._path} and self._metadata is not None:
            await send_json(send, 200, self._metadata)
            return
        if scope["path"].removesuffix("/") != self._path:
            await send_text(send, 404, f"Nothing is here; MCP is at {self._path}.")
            return
        principal = UNNAMED if self._tokens is None else self._who(by_name.get(b"authorization", b""))
        if principal is None:
            await send_text(send, 401, "A bearer token of this gateway is needed.", self._challenge)
            return
        # A session is its tenant's: the SDK compares `user` with that of the request that opened it.
        token = AccessToken(token="", client_id=principal.tenant, scopes=sorted(principal.scopes))
        inner = dict(scope)
        inner["path"] = self._path
        inner["headers"] = [pair for pair in headers if pair[0] not in CREDENTIALS]
        inner["user"] = AuthenticatedUser(token)
        inner[PRINCIPAL] = principal
        await self._app(inner, receive, send)

    def _who(self, authorization: bytes) -> Principal | None:
        assert self._tokens is not None
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            return None
        return self._tokens.principal(token.strip().decode("latin-1"))
