"""The front desk: answers what is ours (health, models), sends calls through the pipeline, and shapes every error.

The one place that turns a `TurnwiseError` into a response, in the dialect that the path belongs to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from turnwise import names
from turnwise.dialects import DIALECTS, dialect_for_path, match, wrong_method
from turnwise.errors import ClientFault, Overloaded, ProxyFault, Reason, TurnwiseError
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.pipeline import Pipeline
from turnwise.proxy.reading import new_ids, request_id
from turnwise.proxy.wire.ports import Client, RawRequest, ResponseHead
from turnwise.types import Headers

logger = logging.getLogger(__name__)

JSON = (b"content-type", b"application/json")
OWN_PATHS = frozenset({"/health", "/ready", "/v1/models"})
MODEL_PATH = "/v1/models/"
"""How the paths of single models begin."""
OWN_METHODS = ("GET", "HEAD")
RETRY_AFTER_S = 1
"""What an overloaded fleet tells clients to wait: about one health check."""


class Front:
    """Handles every request that the wire has read."""

    def __init__(
        self,
        pipeline: Pipeline,
        fleet: Fleet,
        metrics: Metrics,
        *,
        allow_paths: tuple[str, ...],
        clock: Callable[[], float],
    ) -> None:
        self._pipeline = pipeline
        self._fleet = fleet
        self._metrics = metrics
        self._allow_paths = frozenset(allow_paths)
        self._clock = clock
        self.new_request_id = new_ids("req-")
        self._started_at = int(time.time())
        self.is_draining = False
        """Set when the process has been asked to stop: `/ready` says so at once, so that nobody sends more."""

    async def handle(self, raw: RawRequest, client: Client) -> None:
        """Answer one request, whatever happens."""
        identity = request_id(raw.fields, self.new_request_id)
        try:
            path = raw.target.partition("?")[0]
            if path in OWN_PATHS or path.startswith(MODEL_PATH):
                self._answer_own(raw, path, client, identity)
                return
            route = match(raw.method, path, self._allow_paths)
            outcome = await self._pipeline.handle(raw, route, identity, client)
            fault = outcome.fault
            if fault is not None and not outcome.has_started and not outcome.is_client_gone:
                self._answer_error(fault, raw, client, identity)
        except TurnwiseError as fault:
            self._answer_error(fault, raw, client, identity)
        except Exception:
            logger.exception("request %s failed by a bug", identity)
            self._answer_error(ProxyFault(), raw, client, identity)

    def _answer_own(self, raw: RawRequest, path: str, client: Client, identity: str) -> None:
        """Answer a path that is the proxy's own."""
        if raw.method not in OWN_METHODS:
            raise wrong_method(path, raw.method, OWN_METHODS)
        if path.startswith(MODEL_PATH):
            # Clients escape the slash in a name such as `org/model`; nothing of this path reaches a replica.
            self._answer_model(unquote(path.removeprefix(MODEL_PATH)), client, identity)
        elif path == "/v1/models":
            body = {"object": "list", "data": [self._model(*model) for model in self._fleet.models().items()]}
            self._answer(client, 200, msgspec.json.encode(body), identity)
        elif path == "/ready":
            self._answer_ready(client, identity)
        else:
            self._answer(client, 200, b'{"status":"alive"}', identity)

    def _answer_ready(self, client: Client, identity: str) -> None:
        if self.is_draining:
            raise Overloaded("the proxy is shutting down", reason=Reason.DRAINING)
        if not self._fleet.is_ready():
            raise Overloaded("no replica can take calls")
        self._answer(client, 200, b'{"status":"ready"}', identity)

    def _answer_model(self, name: str, client: Client, identity: str) -> None:
        models = self._fleet.models()
        if name not in models:
            raise ClientFault(f"The model `{name}` does not exist", reason=Reason.UNKNOWN_MODEL, status=404, param="model")
        self._answer(client, 200, msgspec.json.encode(self._model(name, models[name])), identity)

    def _answer_error(self, fault: TurnwiseError, raw: RawRequest, client: Client, identity: str) -> None:
        self._metrics.refused(fault.reason)
        if client.is_gone:
            return
        if client.has_started:
            client.abort()
            return
        extra: Headers = ((names.HEADER_REASON, str(fault.reason).encode()),)
        if isinstance(fault, Overloaded):
            extra += ((b"retry-after", str(RETRY_AFTER_S).encode()),)
        if isinstance(fault, ClientFault) and fault.allowed_methods:
            extra += ((b"allow", ", ".join(fault.allowed_methods).encode()),)
        self._answer(client, fault.status, self.render_error(fault, raw.target), identity, extra)

    def render_error(self, fault: TurnwiseError, target: str | None) -> bytes:
        """JSON body of an error in the dialect of `target`; the wire uses it for what never became a request."""
        path = "" if target is None else target.partition("?")[0]
        return DIALECTS[dialect_for_path(path)].error(fault)

    def _answer(self, client: Client, status: int, body: bytes, identity: str, extra: Headers = ()) -> None:
        headers = (JSON, (names.HEADER_REQUEST_ID, identity.encode()), *extra)
        client.start(ResponseHead(status=status, phrase=b"", headers=headers, length=len(body)))
        client.write(body)
        client.finish()

    def _model(self, name: str, max_model_len: int | None) -> dict[str, object]:
        card: dict[str, object] = {"id": name, "object": "model", "created": self._started_at, "owned_by": "turnwise"}
        return card if max_model_len is None else {**card, "max_model_len": max_model_len}
