"""What Prometheus reads."""

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from turnwise import names
from turnwise.errors import Reason
from turnwise.proxy.export.prometheus import Metrics
from turnwise.types import CallId, DialectName, Hit, HitSource, Outcome, Placement, ReplicaId, Terms, Usage

CALL = Outcome(
    call_id=CallId("tw-1"),
    request_id="req-1",
    dialect=DialectName.CHAT,
    model="m",
    max_tokens=None,
    num_choices=1,
    is_stream=True,
    unhashed_bytes=3,
    arrived_at=10.0,
    read_at=10.0,
    placement=Placement(ReplicaId("a"), "kv_aware", "lowest_cost", 100, True, Hit(64, HitSource.CONFIRMED), Terms()),
    attempt=1,
    status=200,
    is_complete=True,
    has_started=True,
    is_client_gone=False,
    fault=None,
    usage=Usage(100, 7, 48),
    finish_reason="stop",
    booked_at=10.0,
    sent_at=10.0005,
    head_at=10.2,
    first_byte_at=10.2,
    first_token_at=10.25,
    first_visible_at=10.25,
    last_byte_at=11.0,
    ended_at=12.5,
    body_bytes=10,
)
"""A call that took 2.5 s, sent after half a millisecond; 64 of its tokens were expected to be cached, 48 were."""


def samples(metrics):
    page = metrics.render().decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_the_page_has_the_documented_families_and_no_others():
    metrics = Metrics()
    metrics.refused(Reason.BAD_REQUEST)
    metrics.feed_gap(ReplicaId("a"))
    families = list(text_string_to_metric_families(metrics.render().decode()))
    found = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert names.REFUSED.name in found
    assert found <= {metric.name for metric in names.METRICS}


def test_a_call_is_counted_in_every_family_that_it_has_something_to_say_of():
    metrics = Metrics()
    metrics.calls.add(CALL)
    page = samples(metrics)
    chat, a = ("dialect", "chat"), ("replica", "a")
    assert page["turnwise_calls_total", chat, ("reason", ""), a, ("status", "200")] == 1
    assert page["turnwise_unhashed_prompt_bytes_total", chat] == 3
    assert page["turnwise_prompt_tokens_total", a] == 100
    assert page["turnwise_completion_tokens_total", a] == 7
    assert page["turnwise_cached_tokens_total", a] == 48
    assert page["turnwise_predicted_tokens_total", a, ("source", "confirmed")] == 64
    assert page["turnwise_prediction_error_tokens_total", ("direction", "over"), a] == 16
    assert page["turnwise_call_seconds_sum", chat] == 2.5
    assert page["turnwise_proxy_seconds_count",] == 1


def test_a_value_falls_into_the_first_bucket_whose_bound_it_does_not_pass():
    metrics = Metrics()
    metrics.calls.add(CALL)
    page = samples(metrics)
    found = {
        bound: page["turnwise_call_seconds_bucket", ("dialect", "chat"), ("le", bound)] for bound in ("1.0", "2.5", "+Inf")
    }
    assert found == {"1.0": 0, "2.5": 1, "+Inf": 1}


def test_calls_that_differ_in_one_label_are_summed_where_it_is_no_label():
    metrics = Metrics()
    metrics.calls.add(CALL)
    metrics.calls.add(msgspec.structs.replace(CALL, status=500, usage=None))
    page = samples(metrics)
    assert page["turnwise_call_seconds_count", ("dialect", "chat")] == 2
    assert page["turnwise_prompt_tokens_total", ("replica", "a")] == 100


def test_what_an_engine_does_not_tell_has_no_series():
    metrics = Metrics()
    metrics.calls.add(msgspec.structs.replace(CALL, usage=Usage(100, 7, None), first_token_at=None))
    assert not [name for name, *_ in samples(metrics) if "cached" in name or "error_tokens" in name or "first_token" in name]


def test_the_latency_of_a_traced_call_has_its_trace_as_an_exemplar():
    metrics = Metrics()
    metrics.calls.add(CALL, bytes(range(16)))
    metrics.calls.add(msgspec.structs.replace(CALL, ended_at=10.1, first_token_at=None))
    found = [
        (sample.name, sample.labels["le"], sample.exemplar.labels)
        for family in metrics.calls.collect()
        for sample in family.samples
        if sample.exemplar is not None
    ]
    trace = {"trace_id": bytes(range(16)).hex()}
    assert found == [("turnwise_call_seconds_bucket", "2.5", trace), ("turnwise_first_token_seconds_bucket", "0.25", trace)]
