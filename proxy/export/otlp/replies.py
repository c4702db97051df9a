"""What a backend says of a batch that it has taken."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse


def num_rejected(content: bytes) -> int:
    """How many spans of a batch a backend did not want; 0 where its answer is none of OTLP, which some backends send."""
    try:
        return max(0, ExportTraceServiceResponse.FromString(content).partial_success.rejected_spans)
    except DecodeError:
        return 0
