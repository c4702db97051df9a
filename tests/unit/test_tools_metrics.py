"""What Prometheus reads of the tools gateway, and its page of tools."""

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.tools_facts import Gateway, row, session, tool

from turnwise import names
from turnwise.tools_gateway.export import meter
from turnwise.tools_gateway.export.gauges import Gauges
from turnwise.tools_gateway.export.page import ToolsPage
from turnwise.tools_gateway.export.rows import tools_page
from turnwise.tools_gateway.messages import How, Void
from turnwise.tools_gateway.values import AnnouncementEnd, Called, Fate, Fault, Forecast

EXPECTED = Forecast(0.5, 1.0, 2.0, 4.0, 30.0)


def families(gateway):
    registry = CollectorRegistry()
    registry.register(gateway.meter)
    registry.register(Gauges(gateway.sources))
    return list(text_string_to_metric_families(generate_latest(registry).decode()))


def samples(gateway):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families(gateway)
        for sample in family.samples
    }


def everything_happened(gateway):
    read, _, fetch = gateway.tools
    gateway.ran(read, 1.0)
    gateway.busy(read, 2, 1)
    gateway.loads.num_bytes = 4096
    gateway.meter.called(read, Called(How.EARLY, Fate.SUCCESS, None, 0.001, 1.5, EXPECTED, saved_s=1.2))
    gateway.meter.called(fetch, Called(How.ASKED, Fate.TIMEOUT, Fault.DEADLINE, 0.2, 30.0, EXPECTED))
    gateway.meter.early_ended(read, Void.LENGTH)
    gateway.meter.early_ended(read, None)
    gateway.meter.not_early(read, "tainted")
    gateway.meter.refused(Fault.UNKNOWN_TOOL)
    gateway.meter.announcement_ended(AnnouncementEnd.EXPIRED)


def test_the_page_has_each_documented_family_of_the_gateway_and_no_other():
    gateway = Gateway()
    everything_happened(gateway)
    found = {family.name + ("_total" if family.type == "counter" else "") for family in families(gateway)}
    assert found == {metric.name for metric in names.METRICS if metric.name.startswith("turnwise_tools_")}


def test_a_call_is_counted_by_tool_how_it_came_about_and_how_it_ended():
    gateway = Gateway()
    everything_happened(gateway)
    page = samples(gateway)
    assert page["turnwise_tools_calls_total", "", "early", "files__read", "success"] == 1
    assert page["turnwise_tools_calls_total", "asked", "deadline", "timeout", "web__fetch"] == 1
    assert page["turnwise_tools_run_seconds_sum", "files__read"] == 1.5
    assert page["turnwise_tools_queue_seconds_count", "web"] == 1
    assert page["turnwise_tools_saved_seconds_total", "files__read"] == 1.2
    assert page["turnwise_tools_refused_total", "unknown_tool"] == 1


def test_early_runs_are_told_by_what_became_of_them():
    gateway = Gateway()
    everything_happened(gateway)
    page = samples(gateway)
    for end in ("joined", "length", "unclaimed"):
        assert page["turnwise_tools_early_runs_total", *sorted((end, "files__read"))] == 1
    assert page["turnwise_tools_not_early_total", "files__read", "tainted"] == 1


@pytest.mark.parametrize(
    ("took", "place", "over", "under"), [(0.4, "below", 0.6, 0.0), (1.0, "within", 0.0, 0.0), (3.0, "above", 0.0, 2.0)]
)
def test_a_run_that_ended_well_is_held_against_what_was_expected(took, place, over, under):
    gateway = Gateway()
    gateway.meter.called(gateway.tools[0], Called(How.ASKED, Fate.SUCCESS, None, 0.0, took, EXPECTED))
    page = samples(gateway)
    assert page["turnwise_tools_predictions_total", *sorted((place, "files__read"))] == 1
    assert page["turnwise_tools_prediction_error_seconds_total", "files__read", "over"] == pytest.approx(over)
    assert page["turnwise_tools_prediction_error_seconds_total", "files__read", "under"] == pytest.approx(under)


def test_a_run_that_was_cut_off_says_nothing_of_what_was_expected():
    gateway = Gateway()
    gateway.meter.called(gateway.tools[0], Called(How.ASKED, Fate.TIMEOUT, Fault.DEADLINE, 0.0, 30.0, EXPECTED))
    assert not [key for key in samples(gateway) if key[0].startswith("turnwise_tools_prediction")]


def test_a_call_that_began_no_run_is_in_no_histogram():
    gateway = Gateway()
    gateway.meter.called(gateway.tools[0], Called(How.REMEMBERED, Fate.SUCCESS))
    page = samples(gateway)
    assert page["turnwise_tools_calls_total", "", "files__read", "remembered", "success"] == 1
    assert page["turnwise_tools_run_seconds_count", "files__read"] == 0
    assert not [key for key in page if key[0].startswith("turnwise_tools_queue")]


def test_gauges_tell_how_things_are_now():
    gateway = Gateway()
    everything_happened(gateway)
    gateway.sessions.append(session("web", num_dials=2, num_faults=3))
    gateway.num_audit_failures = 2
    gateway.num_notices_dropped = 3
    page = samples(gateway)
    assert page["turnwise_tools_expected_seconds", "0.9", "files__read"] == pytest.approx(1.0)
    assert page["turnwise_tools_running", "files__read"] == 2
    assert page["turnwise_tools_queued", "files__read"] == 1
    assert page["turnwise_tools_known", "drifted", "web"] == 1
    assert page["turnwise_tools_upstream_sessions", "down", "web"] == 1
    assert page["turnwise_tools_upstream_dials", "web"] == 6
    assert page["turnwise_tools_upstream_faults", "web"] == 3
    assert page["turnwise_tools_audit_failures_total",] == 2
    assert page["turnwise_tools_notices_dropped_total",] == 3
    assert page["turnwise_tools_memory_bytes",] == 4096


def test_tools_past_the_bound_are_counted_together():
    gateway = Gateway()
    for number in range(meter.MAX_TOOLS + 10):
        gateway.meter.called(tool(f"t{number}"), Called(How.ASKED, Fate.SUCCESS))
    page = samples(gateway)
    assert page["turnwise_tools_calls_total", "", "(other)", "asked", "success"] == 10
    assert len([key for key in page if key[0] == "turnwise_tools_calls_total"]) == meter.MAX_TOOLS + 1


def test_a_row_tells_what_was_learned_and_counted_of_a_tool():
    gateway = Gateway()
    everything_happened(gateway)
    gateway.now += 5.0
    page = tools_page(gateway.sources)
    read = row(page, "files__read")
    assert read["p50_s"] == pytest.approx(1.0)
    assert (read["num_samples"], read["running"], read["queued"]) == (40, 2, 1)
    assert (read["calls"], read["joined"], read["unclaimed"], read["void"]) == (1, 1, 1, {"length": 1})
    assert (read["run_s"], read["saved_s"], read["last_fault"]) == (1.5, 1.2, "")
    assert read["not_early"] == {"tainted": 1}
    fetch = row(page, "web__fetch")
    assert (fetch["state"], fetch["why"]) == ("drifted", "its definition changed")
    assert (fetch["last_fault"], fetch["last_fault_age_s"]) == ("deadline", 5.0)
    assert page.announcements == {"expired": 1}
    assert page.memory_bytes == 4096


def test_a_tool_that_has_not_run_is_told_with_a_guess_of_no_samples():
    gateway = Gateway()
    gateway.ran(gateway.tools[0], 2.0)
    write = row(tools_page(gateway.sources), "files__write")
    assert write["num_samples"] == 0
    assert 0.5 < write["p50_s"] < 4.0
    assert write["error_p50_s"] is None


def test_the_page_is_read_back_as_it_was_written():
    gateway = Gateway()
    everything_happened(gateway)
    page = tools_page(gateway.sources)
    assert msgspec.json.decode(msgspec.json.encode(page), type=ToolsPage) == page
