"""The paths that reach a replica, and which API each belongs to.

An engine serves control calls beside inference (sleep, weight updates, remote procedure calls) on one port, so what is not
listed does not pass. Paths are compared as they are: no percent-decoding, no collapsing of `//` or `..`, no trailing slash,
so that no spelling means one thing here and another at the engine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from turnwise.errors import ClientFault, Reason
from turnwise.types import DialectName


class Route(msgspec.Struct, frozen=True):
    """One path that is relayed; `methods` is empty where any will do. `{id}` in `path` stands for one identifier."""

    path: str
    dialect: DialectName
    methods: tuple[str, ...] = ("POST",)
    response_id: str | None = None
    """What stands for `{id}` in a matched path: the stored response that the call is about, which one replica keeps."""


ROUTES: Mapping[str, Route] = {
    route.path: route
    for route in (
        Route("/v1/chat/completions", DialectName.CHAT),
        Route("/v1/chat/completions/batch", DialectName.OPENAI),
        Route("/v1/completions", DialectName.COMPLETIONS),
        Route("/v1/messages", DialectName.MESSAGES),
        Route("/v1/messages/count_tokens", DialectName.COUNT_TOKENS),
        Route("/v1/responses", DialectName.RESPONSES),
        Route("/v1/responses/{id}", DialectName.STORED, ("GET",)),
        Route("/v1/responses/{id}/cancel", DialectName.STORED),
        Route("/v1/embeddings", DialectName.OPENAI),
        Route("/v1/rerank", DialectName.OPENAI),
        Route("/v2/rerank", DialectName.OPENAI),
        Route("/rerank", DialectName.OPENAI),
        Route("/v1/score", DialectName.OPENAI),
        Route("/score", DialectName.OPENAI),
        Route("/generative_scoring", DialectName.OPENAI),
        Route("/pooling", DialectName.OPENAI),
        Route("/classify", DialectName.OPENAI),
        Route("/tokenize", DialectName.OPENAI),
        Route("/detokenize", DialectName.OPENAI),
        Route("/v1/audio/transcriptions", DialectName.OPENAI),
        Route("/v1/audio/translations", DialectName.OPENAI),
        Route("/inference/v1/generate", DialectName.OPENAI),
    )
}
"""Inference paths of vLLM 0.32, by path; `/invocations` is left out as it can carry a call of any of them unseen."""

_WITH_ID = tuple(
    (re.compile(re.escape(path).replace(r"\{id\}", "([A-Za-z0-9_-]{1,128})")), route)
    for path, route in ROUTES.items()
    if "{id}" in path
)


def match(method: str, target: str, extra_paths: Collection[str] = ()) -> Route:
    """The route of a request target (path and query; the query does not count).

    `extra_paths` are relayed besides, with any method. Raises `ClientFault`: 404 for an unknown path, 405 for a known one
    with another method.
    """
    path = target.partition("?")[0]
    route = ROUTES.get(path) if "{" not in path else None
    if route is None:
        route = _with_id(path)
    if route is None and path in extra_paths:
        route = Route(path, dialect_for_path(path), ())
    if route is None:
        raise ClientFault(f"there is no {path} here", reason=Reason.UNKNOWN_PATH, status=404)
    if route.methods and method not in route.methods:
        raise wrong_method(path, method, route.methods)
    return route


def _with_id(path: str) -> Route | None:
    for pattern, route in _WITH_ID:
        if found := pattern.fullmatch(path):
            return msgspec.structs.replace(route, response_id=found[1])
    return None


def wrong_method(path: str, method: str, allowed: tuple[str, ...]) -> ClientFault:
    """The fault of a request whose path exists, with other methods."""
    message = f"{path} takes {' or '.join(allowed)}, not {method}"
    return ClientFault(message, reason=Reason.METHOD_NOT_ALLOWED, status=405, allowed_methods=allowed)


def dialect_for_path(path: str) -> DialectName:
    """Which API's shape an error on this path takes, known path or not."""
    known = ROUTES.get(path)
    if known is not None:
        return known.dialect
    for prefix, dialect in (("/v1/messages", DialectName.MESSAGES), ("/v1/responses", DialectName.RESPONSES)):
        if path == prefix or path.startswith(f"{prefix}/"):
            return dialect
    return DialectName.OPENAI
