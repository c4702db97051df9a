"""What Prometheus reads of programs."""

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.unit.told_calls import ran, told

from turnwise.events import ToolHow
from turnwise.proxy.export.programs import ProgramTotals
from turnwise.proxy.programs.values import Basis, Ended, Key, Outcome
from turnwise.settings import ProgramSettings
from turnwise.types import ProgramId

TRACE = bytes(range(16))
KEY = Key(ProgramId("p"), "", "", "", 0, TRACE, bytes(8), None, True, 10.0, Basis.LINEAGE)
CALLS = (
    told("a", 10.0, 11.0, tools=["bash"]),
    told("b", 13.0, 15.0, ("continue", "a"), runs=[ran("a", 11.0, 13.0)], is_final=True),
)


def samples(totals):
    registry = CollectorRegistry()
    registry.register(totals)
    return [
        sample for family in text_string_to_metric_families(generate_latest(registry).decode()) for sample in family.samples
    ]


def values(totals):
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples(totals)}


@pytest.fixture
def totals():
    return ProgramTotals(ProgramSettings())


def end(totals, calls=CALLS, outcome=Outcome.ANSWERED, key=KEY):
    totals.program_ended(Ended(key, outcome, calls, calls[-1].times.ended if calls else key.started_at))


def test_a_program_is_counted_in_every_family_that_it_has_something_to_say_of(totals):
    end(totals)
    page = values(totals)
    assert page["turnwise_programs_total", ("basis", "lineage"), ("outcome", "answered")] == 1
    assert page["turnwise_program_seconds_sum", ("outcome", "answered")] == 5.0
    assert page["turnwise_program_first_result_seconds_sum",] == 4.0
    assert page["turnwise_program_calls_sum",] == 2
    assert page["turnwise_program_tool_runs_sum",] == 1
    assert page["turnwise_program_path_seconds_total", ("cause", "tool_run")] == 2.0
    assert page["turnwise_program_engine_seconds_sum",] == pytest.approx(3 * 0.896)


def test_runs_of_tools_are_counted_by_how_with_what_early_ones_saved_and_how_right_the_forecast_was(totals):
    told = {"is_inferred": False, "predicted_s": 2.0}
    runs = (
        ran("a", 11.0, 13.0),
        ran("a", 11.0, 13.0, number=1, **told),
        ran("a", 10.5, 11.5, number=2, how=ToolHow.EARLY, saved_s=0.5, **told),
        ran("a", 11.0, 12.0, number=3, how=ToolHow.SHARED, **told),
        ran("a", 11.0, 12.0, number=4, is_conversation=True),
        ran("a", 11.0, 12.0, number=5, is_ok=False, **told),
    )
    totals.call_ended(KEY, msgspec.structs.replace(CALLS[1], runs=runs))
    totals.program_ended(Ended(KEY, Outcome.ANSWERED, CALLS, 15.0, voided=runs[:1]))
    page = values(totals)
    counted = {labels[0][1]: value for (name, *labels), value in page.items() if name == "turnwise_tool_runs_total"}
    assert counted == {"inferred": 1, "asked": 2, "early": 1, "shared": 1, "void": 1}
    assert page["turnwise_tool_saved_seconds_total",] == 0.5
    assert page["turnwise_tool_prediction_ratio_sum", ("how", "asked")] == 1.0
    assert page["turnwise_tool_prediction_ratio_sum", ("how", "early")] == 0.5
    assert page["turnwise_tool_prediction_ratio_count", ("how", "asked")] == 1


def test_the_seconds_of_all_causes_sum_to_the_makespans(totals):
    end(totals)
    end(totals, CALLS[:1], Outcome.AGE)
    page = values(totals)
    path = sum(value for (name, *_), value in page.items() if name == "turnwise_program_path_seconds_total")
    makespans = sum(value for (name, *_), value in page.items() if name == "turnwise_program_seconds_sum")
    assert path == pytest.approx(makespans)


def test_a_program_without_an_answer_has_no_first_result(totals):
    end(totals, CALLS[:1], Outcome.AGE)
    page = values(totals)
    assert page["turnwise_program_first_result_seconds_count",] == 0
    assert page["turnwise_program_seconds_count", ("outcome", "age")] == 1


def test_a_program_of_which_no_call_ended_has_only_an_end(totals):
    end(totals, ())
    page = values(totals)
    assert page["turnwise_programs_total", ("basis", "lineage"), ("outcome", "answered")] == 1
    assert page["turnwise_program_calls_count",] == 0


def test_a_price_makes_a_cost_and_without_one_there_is_none(totals):
    priced = ProgramTotals(ProgramSettings(replica_price_per_hour=7200.0))
    for each in (totals, priced):
        end(each)
        end(each)
    assert values(priced)["turnwise_program_cost_total",] == pytest.approx(2 * 2 * 3 * 0.896)
    assert not [name for name, *_ in values(totals) if "cost" in name]


def test_the_pace_of_tokens_is_the_time_after_the_first_over_those_after_the_first(totals):
    totals.call_ended(KEY, CALLS[0])  # 10 tokens in 0.4 s
    page = values(totals)
    assert page["turnwise_inter_token_seconds_sum", ("dialect", "chat")] == pytest.approx(0.4 / 9)


@pytest.mark.parametrize(
    "changes", [{"is_stream": False}, {"completion_tokens": 1}, {"completion_tokens": None}, {"reason": "client_gone"}]
)
def test_a_call_that_did_not_stream_several_tokens_to_its_end_has_no_pace(totals, changes):
    totals.call_ended(KEY, msgspec.structs.replace(CALLS[0], **changes))
    assert not [name for name, *_ in values(totals) if "inter_token" in name]


def test_the_wait_for_admission_is_the_queue(totals):
    totals.call_ended(KEY, told("a", 10.0, 20.0, read=11.0, admitted=14.0))
    assert values(totals)["turnwise_queue_seconds_sum",] == 3.0


def test_calls_that_were_not_queued_stand_in_the_first_bucket_with_the_newest_trace_of_one(totals):
    traced, silent = KEY, msgspec.structs.replace(KEY, is_sampled=False)
    for number, key in enumerate((silent, traced, silent)):
        totals.call_ended(key, told(str(number), 10.0, 20.0, read=11.0, admitted=11.0))
    totals.call_ended(silent, told("late", 10.0, 20.0, read=11.0, admitted=14.0))
    for _ in range(2):  # asking takes nothing away
        page = values(totals)
        first, *_, last = (count for (name, *_), count in page.items() if name == "turnwise_queue_seconds_bucket")
        assert (first, last, page["turnwise_queue_seconds_sum",]) == (3.0, 4.0, 3.0)
        told_of = [sample.exemplar for sample in samples(totals) if sample.name == "turnwise_queue_seconds_bucket"]
        (exemplar,) = filter(None, told_of)
        assert (exemplar.value, exemplar.labels["trace_id"]) == (0.0, TRACE.hex())


def test_exemplars_carry_the_trace_of_a_program_that_is_traced(totals):
    end(totals)
    totals.call_ended(KEY, CALLS[0])
    found = {sample.name: sample.exemplar for sample in samples(totals) if sample.exemplar is not None}
    assert {exemplar.labels["trace_id"] for exemplar in found.values()} == {TRACE.hex()}
    assert found["turnwise_program_seconds_bucket"].value == 5.0
    assert "turnwise_inter_token_seconds_bucket" in found


def test_a_program_that_is_not_traced_leaves_no_exemplar(totals):
    silent = msgspec.structs.replace(KEY, is_sampled=False)
    end(totals, key=silent)
    totals.call_ended(silent, CALLS[0])
    assert not [sample for sample in samples(totals) if sample.exemplar is not None]


def test_no_label_has_an_id(totals):
    end(totals)
    totals.call_ended(KEY, CALLS[0])
    assert {label for sample in samples(totals) for label in sample.labels} == {"basis", "outcome", "cause", "dialect", "le"}
