"""The admin pages of several workers as one."""

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from turnwise.admin.exposition import Format, rendered
from turnwise.errors import Reason
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.workers.pages import merged_calls, merged_metrics, merged_replicas
from turnwise.types import ReplicaId


def page(*, refused=0, gaps=()):
    metrics = Metrics()
    for _ in range(refused):
        metrics.refused(Reason.BAD_REQUEST)
    for replica in gaps:
        metrics.feed_gap(ReplicaId(replica))
    return metrics.render().decode()


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_sample_of_every_worker_is_on_the_page_with_its_worker_and_nothing_else():
    pages = {0: page(refused=2, gaps=["a"]), 1: page(refused=5), 4: page(gaps=["a", "{b"])}
    expected = {
        (name, *sorted([*labels, ("worker", str(worker))])): value
        for worker, text in pages.items()
        for (name, *labels), value in samples(text).items()
    }
    assert samples(merged_metrics(pages)) == expected
    assert len(expected) > 9


def test_a_family_is_introduced_once_and_its_samples_stand_together():
    merged = merged_metrics({0: page(refused=1), 1: page(refused=1, gaps=["a"])})
    families = [family.name for family in text_string_to_metric_families(merged)]
    assert len(families) == len(set(families))
    comments = [line for line in merged.splitlines() if line.startswith("#")]
    assert len(comments) == len(set(comments)) == 2 * len(families)


def marked_page(worker):
    """A page in OpenMetrics with an exemplar on a plain counter, on one with labels and on a bucket."""
    registry = CollectorRegistry()
    exemplar = {"trace_id": f"{worker:032x}"}
    Counter("plain", "Has no labels.", registry=registry).inc(2, exemplar=exemplar)
    Counter("by_kind", "Has one.", ["kind"], registry=registry).labels("{ # }").inc(3, exemplar=exemplar)
    Histogram("seconds", "Has buckets.", buckets=(1.0,), registry=registry).observe(0.5, exemplar=exemplar)
    return rendered(registry, Format.OPENMETRICS).decode()


def test_pages_in_openmetrics_become_one_that_its_parser_reads_with_every_exemplar_where_it_was():
    registry = CollectorRegistry()
    Counter("own", "Of the supervisor.", registry=registry).inc()
    own = rendered(registry, Format.OPENMETRICS).decode()
    merged = merged_metrics({0: marked_page(0), 3: marked_page(3)}, own)
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(merged)}
    traced = [
        (sample.name, sample.labels["worker"], sample.value, sample.exemplar.labels)
        for family in families.values()
        for sample in family.samples
        if sample.exemplar
    ]
    assert traced == [
        (name, str(worker), value, {"trace_id": f"{worker:032x}"})
        for name, value in (("plain_total", 2), ("by_kind_total", 3), ("seconds_bucket", 1))
        for worker in (0, 3)
    ]
    (ours,) = [sample for sample in families["own"].samples if sample.name == "own_total"]
    assert ours.labels == {}
    assert merged.count("# EOF") == 1
    assert merged.endswith("# EOF\n")


def replica(**changes):
    return {
        "name": "r0",
        "is_healthy": True,
        "is_draining": False,
        "is_routable": True,
        "feed": "live",
        "states": [],
        **changes,
    }


def test_a_replica_is_well_where_every_worker_finds_it_so():
    assert merged_replicas([[replica()], [replica(num_running=3)]]) == [replica()]
    merged = merged_replicas([[replica()], [replica(is_healthy=False, is_routable=False, feed="stale")]])
    assert merged == [replica(is_healthy=False, is_routable=False, feed="stale")]
    assert merged_replicas([[replica(feed="partial")], [replica(is_draining=True, feed="connecting")]]) == [
        replica(is_draining=True, feed="connecting")
    ]


def test_calls_of_all_workers_come_newest_first():
    lists = {0: [{"ended_at": 5.0}, {"ended_at": 1.0}], 1: [{"ended_at": 7.0}, {"ended_at": 2.0}]}
    merged = merged_calls(lists, 3)
    assert [(call["worker"], call["ended_at"]) for call in merged] == [(1, 7.0), (0, 5.0), (1, 2.0)]
