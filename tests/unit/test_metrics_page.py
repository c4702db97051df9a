"""What Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from turnwise import names
from turnwise.errors import Reason
from turnwise.proxy.export.prometheus import Metrics
from turnwise.types import ReplicaId


def test_the_page_has_the_documented_families_and_no_others():
    metrics = Metrics()
    metrics.refused(Reason.BAD_REQUEST)
    metrics.feed_gap(ReplicaId("a"))
    families = list(text_string_to_metric_families(metrics.render().decode()))
    found = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert names.REFUSED.name in found
    assert found <= {metric.name for metric in names.METRICS}
