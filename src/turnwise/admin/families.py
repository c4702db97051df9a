"""Families of metrics made from plain numbers when somebody scrapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from turnwise import names

Labels = TypeVar("Labels", bound=tuple[str, ...])
AnyFamily = TypeVar("AnyFamily", CounterMetricFamily, GaugeMetricFamily)


def gauge(metric: names.Metric, values: Mapping[Labels, float]) -> GaugeMetricFamily:
    """A gauge with a value for each set of labels."""
    return _filled(GaugeMetricFamily(metric.name, metric.help, labels=metric.labels), values)


def counter(metric: names.Metric, values: Mapping[Labels, float]) -> CounterMetricFamily:
    """A counter with a value for each set of labels."""
    return _filled(CounterMetricFamily(metric.name, metric.help, labels=metric.labels), values)


def _filled(family: AnyFamily, values: Mapping[Labels, float]) -> AnyFamily:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
