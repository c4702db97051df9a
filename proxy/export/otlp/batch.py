"""Spans on their way: gathered until there are enough of them for one request."""

from __future__ import annotations

from collections.abc import Sequence

import turnwise
from turnwise import span_names as names
from turnwise.proxy.export.otlp import wire

MAX_SPANS = 512
MAX_BYTES = 1024 * 1024


class Batch:
    """What one request will hold; `resource` is an encoded field that names this process."""

    def __init__(self, resource: bytes) -> None:
        self._resource = resource
        self._spans: list[bytes] = []
        self._requests: list[bytes] = []
        self._num_bytes = 0
        self.weight = 0
        """What its records were taken to weigh while they waited."""
        self.num_records = 0
        """Calls, programs and requests of engines that are in it."""

    @property
    def num_spans(self) -> int:
        """Spans of our own."""
        return len(self._spans)

    @property
    def is_full(self) -> bool:
        """Whether it should be sent before more is added."""
        return len(self._spans) >= MAX_SPANS or self._num_bytes >= MAX_BYTES

    def add_spans(self, spans: Sequence[bytes]) -> None:
        """Add spans of our own, each a field `spans`."""
        self._spans.extend(spans)
        self._num_bytes += sum(map(len, spans))

    def add_request(self, request: bytes) -> None:
        """Add the spans of an engine: a whole request, of which several in a row are one."""
        self._requests.append(request)
        self._num_bytes += len(request)

    def body(self) -> bytes:
        """Encode the request; empty where nothing is in it."""
        if not self._spans:
            return b"".join(self._requests)
        scope = wire.scope_spans(names.SCOPE, turnwise.__version__, names.SCHEMA_URL, self._spans)
        return b"".join((wire.request(self._resource, scope), *self._requests))
