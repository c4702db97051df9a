"""The bus of one worker, and the supervisor's workers, in Prometheus' words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.families import counter, gauge
from turnwise.proxy.workers.bus import Bus
from turnwise.proxy.workers.process import WorkerProcess


class BusFigures(Collector):
    """Reads the bus at every scrape."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def collect(self) -> Iterator[Metric]:
        """Read every figure once."""
        bus = self._bus
        links = bus.links.values()
        num_sent, num_dropped = sum(link.num_sent for link in links), sum(link.num_dropped for link in links)
        yield counter(names.BUS_DATAGRAMS, {("sent",): num_sent, ("received",): bus.num_received})
        dropped = {("full",): num_dropped, ("oversize",): bus.num_oversize, ("malformed",): bus.num_malformed}
        yield counter(names.BUS_DROPPED, dropped)
        yield gauge(names.BUS_SIBLINGS, {(): bus.num_heard})


class WorkerFigures(Collector):
    """How many workers serve, and how many had to be started again."""

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Look at every worker once."""
        yield gauge(names.WORKERS, {(): sum(worker.is_serving for worker in self._workers)})
        yield counter(names.WORKER_RESTARTS, {(): sum(max(0, worker.num_starts - 1) for worker in self._workers)})
