"""Which of Prometheus' texts is answered, and what only OpenMetrics can say."""

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from turnwise import names
from turnwise.admin.exposition import MAX_ACCEPT_CHARS, Format, rendered
from turnwise.errors import Reason
from turnwise.proxy.export.prometheus import Metrics

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What Prometheus 3 sends."""
TRACE = {"trace_id": "0af7651916cd43dd8448eb211c80319c"}


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (PROMETHEUS, Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("text/plain, application/openmetrics-text", Format.OPENMETRICS),
        ("Application/OpenMetrics-Text ; Version=1.0.0 ; Q=0.9", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.9", Format.PLAIN),
        ("application/openmetrics-text;q=0", Format.PLAIN),
        ("text/plain", Format.PLAIN),
        ("*/*", Format.PLAIN),
        ("", Format.PLAIN),
        ("text/html,application/xhtml+xml;q=0.9", Format.PLAIN),
        ("application/openmetrics-text;q=", Format.PLAIN),
        ("application/openmetrics-text;q=-1", Format.PLAIN),
        ("application/openmetrics-text;q=inf", Format.PLAIN),
        ("application/openmetrics-text;q=٣", Format.PLAIN),
        ("application/openmetrics-text;q=9999999999", Format.PLAIN),
        (";,;,=;q", Format.PLAIN),
        ("," * MAX_ACCEPT_CHARS + "application/openmetrics-text", Format.PLAIN),
    ],
)
def test_the_format_is_the_one_that_is_asked_for_and_plain_text_where_openmetrics_is_not_named(accept, form):
    assert Format.wanted(accept) is form


def test_both_formats_say_the_same_and_openmetrics_is_read_by_its_parser():
    metrics = Metrics()
    metrics.refused(Reason.BAD_REQUEST)
    plain = list(text_string_to_metric_families(metrics.render().decode()))
    told = list(openmetrics.text_string_to_metric_families(metrics.render(Format.OPENMETRICS).decode()))
    assert [(family.name, family.type, family.samples) for family in told] == [
        (family.name, family.type, family.samples) for family in plain
    ]
    found = {family.name + ("_total" if family.type == "counter" else "") for family in told}
    assert names.REFUSED.name in found
    assert found <= {metric.name for metric in names.METRICS}


def test_an_exemplar_stands_on_the_page_in_openmetrics_and_on_no_other():
    registry = CollectorRegistry()
    Histogram("seconds", "Time.", registry=registry, buckets=(1.0, 2.0)).observe(1.5, exemplar=TRACE)
    families = openmetrics.text_string_to_metric_families(rendered(registry, Format.OPENMETRICS).decode())
    marked = [sample for family in families for sample in family.samples if sample.exemplar]
    assert [(sample.labels, sample.exemplar.labels, sample.exemplar.value) for sample in marked] == [
        ({"le": "2.0"}, TRACE, 1.5)
    ]
    assert TRACE["trace_id"].encode() not in rendered(registry, Format.PLAIN)
