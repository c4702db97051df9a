"""The numbers of a histogram, with the trace of the newest value of each bucket."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from turnwise import names


class Buckets:
    """How many values fell into each bucket, the last of which has no bound, and their sum."""

    __slots__ = ("bounds", "counts", "examples", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.examples: dict[int, tuple[float, bytes]] = {}
        """By bucket, the newest value of which there is a trace, and that trace's id."""

    def observe(self, value: float, trace_id: bytes | None = None) -> None:
        """Count a value; one that equals a bound is within it."""
        place = bisect_left(self.bounds, value)
        self.counts[place] += 1
        self.total += value
        if trace_id is not None:
            self.examples[place] = (value, trace_id)

    def __add__(self, other: Buckets) -> Buckets:
        both = Buckets(self.bounds)
        both.counts = [left + right for left, right in zip(self.counts, other.counts, strict=True)]
        both.total = self.total + other.total
        both.examples = self.examples | other.examples
        return both


def histogram(metric: names.Metric, values: Mapping[tuple[str, ...], Buckets]) -> HistogramMetricFamily:
    """A histogram with buckets for each set of labels; its exemplars carry trace ids."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, buckets in values.items():
        bounds = [*map(floatToGoString, buckets.bounds), "+Inf"]
        samples: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for place, (bound, count) in enumerate(zip(bounds, accumulate(buckets.counts), strict=True)):
            example = buckets.examples.get(place)
            if example is None:
                samples.append((bound, count))
            else:
                value, trace_id = example
                samples.append((bound, count, Exemplar({"trace_id": trace_id.hex()}, value)))
        family.add_metric(labels, samples, buckets.total)
    return family
