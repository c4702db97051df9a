"""What became of spans, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.families import counter, gauge
from turnwise.proxy.export.otlp.courier import Courier
from turnwise.proxy.export.otlp.engines import EngineSpans


class ExportFigures(Collector):
    """What became of spans, when somebody scrapes."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    def collect(self) -> Iterator[Family]:
        """Read all of it once."""
        courier = self._courier
        yield counter(names.SPANS_EXPORTED, {(): courier.num_exported})
        yield counter(names.SPANS_REJECTED, {(): courier.num_rejected})
        yield counter(names.SPANS_LOST, {(loss.value,): count for loss, count in courier.lost.items()})
        yield counter(names.SPAN_BATCHES_FAILED, {(): courier.num_failed_batches})
        yield gauge(names.SPANS_PENDING, {(): courier.pending_bytes})


class EngineFigures(Collector):
    """What engines told, when somebody scrapes."""

    def __init__(self, spans: EngineSpans) -> None:
        self._heard = spans.heard

    def collect(self) -> Iterator[Family]:
        """Read all of it once."""
        heard = self._heard
        counts = {("matched",): heard.matched, ("unmatched",): heard.unmatched, ("other",): heard.other}
        yield counter(names.ENGINE_SPANS, counts)
        yield counter(names.ENGINE_SPANS_REFUSED, {(): heard.malformed})
