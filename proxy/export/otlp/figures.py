"""What became of spans, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.families import counter, gauge
from turnwise.proxy.export.otlp.engines import EngineSpans
from turnwise.proxy.export.otlp.exporter import Exporter


class ExportFigures(Collector):
    """What an exporter did, when somebody scrapes."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def collect(self) -> Iterator[Family]:
        """Read all of it once."""
        exporter = self._exporter
        yield counter(names.SPANS_EXPORTED, {(): exporter.num_exported})
        yield counter(names.SPANS_REJECTED, {(): exporter.num_rejected})
        yield counter(names.SPANS_LOST, {(loss.value,): count for loss, count in exporter.lost.items()})
        yield counter(names.SPAN_BATCHES_FAILED, {(): exporter.num_failed_batches})
        yield gauge(names.SPANS_PENDING, {(): exporter.pending_bytes})


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
