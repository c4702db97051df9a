"""OTLP over gRPC: one unary call a batch. It needs the extra `turnwise[grpc]`, 20 MB that HTTP does without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import grpc

from turnwise.proxy.export.otlp.replies import num_rejected
from turnwise.proxy.export.otlp.sending import Answer, Verdict
from turnwise.proxy.export.otlp.target import Target

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

RETRYABLE: Final = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses after which OTLP lets a batch be sent again."""

EXHAUSTED = "RESOURCE_EXHAUSTED"
RETRY_INFO = b"google.rpc.RetryInfo"
"""What the details of `RESOURCE_EXHAUSTED` name where the backend expects to recover."""

DETAILS = "grpc-status-details-bin"


class GrpcSender:
    """See `Sender`."""

    def __init__(self, target: Target) -> None:
        self._channel: Any = (
            grpc.secure_channel(target.address, grpc.ssl_channel_credentials())
            if target.is_secure
            else grpc.insecure_channel(target.address)
        )
        # Without serializers a call takes and gives bytes.
        self._export = self._channel.unary_unary(METHOD)
        self._metadata = tuple(target.headers.items())
        self._compression = grpc.Compression.Gzip if target.is_gzip else grpc.Compression.NoCompression

    def send(self, batch: bytes, timeout_s: float) -> Answer:
        """See `Sender.send`."""
        try:
            content = self._export(batch, timeout=timeout_s, metadata=self._metadata, compression=self._compression)
        except grpc.RpcError as error:
            return _answer(error)
        except ValueError as error:  # the channel was closed meanwhile
            return Answer(Verdict.LATER, str(error))
        return Answer(Verdict.TAKEN, num_rejected=num_rejected(content))

    def close(self) -> None:
        """See `Sender.close`."""
        self._channel.close()


def _answer(error: Any) -> Answer:
    status: str = error.code().name
    why = f"gRPC {status}: {str(error.details()).partition(chr(10))[0]}"
    if status in RETRYABLE or (status == EXHAUSTED and _may_recover(error.trailing_metadata() or ())):
        return Answer(Verdict.LATER, why)
    return Answer(Verdict.REFUSED, why)


def _may_recover(metadata: Sequence[tuple[str, str | bytes]]) -> bool:
    return any(key == DETAILS and isinstance(value, bytes) and RETRY_INFO in value for key, value in metadata)
