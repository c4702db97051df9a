"""A backend of traces for tests: takes OTLP over HTTP and gRPC, keeps every span, answers as Jaeger's query API does.

What it says to a batch is up to the test: `answers` holds what the next batches get, each an HTTP status with headers and body
or something to do with the connection.
"""

from __future__ import annotations

import gzip
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE_S = 20.0
METHOD = "Export"
SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
KINDS = {1: "internal", 2: "server", 3: "client"}


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind)


class Stored:
    """One span, readable."""

    def __init__(self, span, resource, scope, batch):
        self.batch = batch
        """Which batch brought it, from 0."""
        self.trace = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.name = span.name
        self.kind = KINDS.get(span.kind, str(span.kind))
        self.start_ns, self.end_ns = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = {pair.key: value_of(pair.value) for pair in span.attributes}
        self.links = [
            (
                link.trace_id.hex(),
                link.span_id.hex(),
                {pair.key: value_of(pair.value) for pair in link.attributes}.get("link.type"),
            )
            for link in span.links
        ]
        self.error = span.status.message if span.status.code == 2 else None
        self.resource = {pair.key: value_of(pair.value) for pair in resource.attributes}
        self.scope = scope.name

    @property
    def duration_s(self):
        return (self.end_ns - self.start_ns) / 1e9


def spans_of(body, batch=0):
    return [
        Stored(span, group.resource, scope.scope, batch)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


class Sink:
    """Entering it starts it; `url` is its OTLP/HTTP address, `grpc_address` is there once `serve_grpc` was called."""

    def __init__(self):
        self.spans = []
        self.num_batches = 0
        self.heads = []
        """Headers of every batch."""
        self.answers = deque()
        """`(status, headers, body)`, or a function of the handler that answers otherwise; an ordinary answer where empty."""
        self.released = threading.Event()
        """Set at the end: what a slow answer waits for."""
        self._changed = threading.Condition()
        self._grpc = None

    def __enter__(self):
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = sink.take(body, dict(self.headers))
                if isinstance(answer, Callable):
                    answer(self)
                else:
                    self.say(*answer)

            def do_GET(self):
                trace = self.path.rpartition("/")[2]
                self.say(200, {"content-type": "application/json"}, msgspec.json.encode(sink.jaeger(trace)))

            def say(self, status, headers=None, content=b""):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that leaves is what some tests are about
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._grpc is not None:
            self._grpc.stop(0).wait()

    def serve_grpc(self):
        """Take spans over gRPC too; `answers` then holds `(code, details)`."""

        def export(body, context):
            answer = self.take(body, dict(context.invocation_metadata()))
            if answer[0] != 200:
                context.abort(*answer)
            return b""

        handlers = grpc.method_handlers_generic_handler(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(export)})
        self._grpc = grpc.server(ThreadPoolExecutor(2))
        self._grpc.add_generic_rpc_handlers((handlers,))
        self.grpc_address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._grpc.start()

    def take(self, body, head):
        """Keep a batch, unless the test has it answered otherwise."""
        with self._changed:
            self.num_batches += 1
            self.heads.append({name.lower(): value for name, value in head.items()})
            answer = self.answers.popleft() if self.answers else (200, None, b"")
            if isinstance(answer, tuple) and answer[0] == 200:
                self.spans += spans_of(body, self.num_batches - 1)
            self._changed.notify_all()
        return answer

    def wait_for(self, what):
        """Return once `what(sink)` holds."""
        with self._changed:
            assert self._changed.wait_for(lambda: what(self), DEADLINE_S), [span.name for span in self.spans]

    def named(self, name):
        """Spans whose name is, or begins with, so many words."""
        return [span for span in self.spans if span.name == name or span.name.startswith(f"{name} ")]

    def one(self, name):
        """The only span of a name."""
        (span,) = self.named(name)
        return span

    def jaeger(self, trace):
        """A trace as Jaeger's query API shows it: parents and links are references."""
        spans = [span for span in self.spans if span.trace == trace]
        data = {
            "traceID": trace,
            "spans": [
                {
                    "traceID": span.trace,
                    "spanID": span.id,
                    "operationName": span.name,
                    "references": [
                        *([{"refType": "CHILD_OF", "traceID": span.trace, "spanID": span.parent}] if span.parent else []),
                        *({"refType": "FOLLOWS_FROM", "traceID": link[0], "spanID": link[1]} for link in span.links),
                    ],
                    "startTime": span.start_ns // 1000,
                    "duration": (span.end_ns - span.start_ns) // 1000,
                    "tags": [
                        {"key": "span.kind", "type": "string", "value": span.kind},
                        *({"key": key, "value": value} for key, value in span.attributes.items()),
                    ],
                }
                for span in spans
            ],
        }
        return {"data": [data] if spans else []}
