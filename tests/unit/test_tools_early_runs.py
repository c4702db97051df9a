"""Tool calls that run before their agent asks, and the calls that join them."""

import asyncio

import msgspec
import pytest
from tests.unit.tool_runs_world import EARLY, READ, WRITE, World, text, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import How, Step, Void, WhyNotEarly
from turnwise.tools_gateway.runs.rule import NotEarly
from turnwise.tools_gateway.runs.turns import MAX_CALLS, MAX_OPEN_S, MAX_TURNS
from turnwise.tools_gateway.values import AnnouncementEnd, Fault, ToolFault

LOOK = tool("look", EARLY)
TOOLS = [LOOK, tool("read", READ), tool("write", WRITE)]


def virtually(scenario, tools=TOOLS, **limits):
    async def main():
        async with World(tools, **limits) as world:
            return world, await scenario(world)

    return run_virtual(main())


def test_a_marked_tool_runs_when_its_arguments_close_and_the_agent_joins_the_run():
    async def scenario(world):
        world.write("look", {"n": 1, "s": 2.0})
        await asyncio.sleep(1.5)
        world.settle()
        before = world.loop.time()
        result = await world.call("look", {"s": 2.0, "n": 1})
        return result, world.loop.time() - before

    world, (result, waited) = virtually(scenario)
    assert text(result) == "1"
    assert waited == pytest.approx(0.5)
    assert len(world.upstreams.asked) == 1
    assert world.steps() == [Step.ANNOUNCED, Step.QUEUED, Step.STARTED, Step.STARTED, Step.FINISHED]
    assert world.last().how is How.EARLY
    assert world.last().claimed_at == 1.5
    assert world.forecaster.observed == [("look", 2.0, "success")]


def test_a_held_result_waits_for_the_clean_end_of_its_turn():
    async def scenario(world):
        world.write("look", {"s": 1.0})
        await asyncio.sleep(2)
        calling = world.asking("look", {"s": 1.0})
        await asyncio.sleep(1.5)
        was_done = calling.done()
        world.settle()
        return was_done, await calling, world.loop.time()

    _, (was_done, result, at) = virtually(scenario)
    assert not was_done
    assert text(result) == "1"
    assert at == 3.5


def test_a_void_turn_cancels_its_run_and_the_agent_that_asks_gets_one_of_its_own():
    async def scenario(world):
        world.write("look", {"s": 5.0})
        await asyncio.sleep(1)
        calling = world.asking("look", {"s": 5.0})
        await asyncio.sleep(1)
        world.settle(why=Void.LENGTH)
        return await calling

    world, result = virtually(scenario)
    assert text(result) == "2"
    assert [ask.fate for ask in world.upstreams.asked] == ["cancelled", "answered"]
    assert world.audit.of("voided") == [("r0", "length")]
    assert world.steps()[-1] is Step.VOID
    assert [fate for _, _, fate in world.forecaster.observed] == ["success"]
    assert world.meter.early == [Void.LENGTH]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda world: world.settle(why=Void.FILTERED),
        lambda world: world.void(),
        lambda world: world.runs.disconnected("proxy"),
        lambda world: world.announce("look", id="another"),
        lambda world: world.fill({"n": 2}),
        lambda world: world.fill(b"{"),
    ],
)
def test_a_result_that_is_held_for_a_call_that_turns_out_void_is_never_given_out(spoil):
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        spoil(world)
        world.settle()
        return await world.call("look", {"n": 1})

    world, result = virtually(scenario)
    assert text(result) == "2"
    assert len(world.audit.of("voided")) == 1
    assert world.forecaster.observed == [("look", 1.0, "success")]


def test_an_unmarked_tool_is_prepared_and_not_run_before_the_agent_asks():
    async def scenario(world):
        world.write("write", {"n": 1})
        world.write("read", {"n": 1}, index=1)
        await asyncio.sleep(1)
        world.settle()
        await asyncio.sleep(1)
        num_asked = len(world.upstreams.asked)
        await world.call("write", {"n": 1})
        return num_asked

    world, num_asked = virtually(scenario)
    assert num_asked == 0
    assert len(world.upstreams.prepared) == 2
    assert world.steps() == [Step.ANNOUNCED, Step.QUEUED, Step.STARTED, Step.FINISHED]
    assert world.last().how is How.ASKED
    assert world.audit.of("decided") == [("r0", "write", "", "asked", "t")]


@pytest.mark.parametrize(
    ("fields", "marks", "why"),
    [
        ({"not_early": WhyNotEarly.SEVERAL_CHOICES}, {}, NotEarly.FORBIDDEN),
        ({"is_tainted": True}, {"is_open_world": True}, NotEarly.TAINTED),
        ({}, {"is_read_only": False}, NotEarly.UNMARKED),
        ({}, {"is_idempotent": False}, NotEarly.UNMARKED),
        ({}, {"is_early": False}, NotEarly.UNMARKED),
    ],
)
def test_no_tool_runs_early_against_its_marks_or_the_proxys_word(fields, marks, why):
    async def scenario(world):
        world.write("look", {"n": 1}, **fields)
        await asyncio.sleep(2)

    world, _ = virtually(scenario, [tool("look", msgspec.structs.replace(EARLY, **marks))])
    assert world.upstreams.asked == []
    assert world.meter.waits == [why]


@pytest.mark.parametrize("first", ["write", "nobody_knows_it"])
def test_an_early_read_waits_behind_a_call_that_may_have_side_effects(first):
    async def scenario(world):
        world.write(first, {"n": 1})
        world.write("look", {"n": 2}, index=1)
        await asyncio.sleep(2)
        world.settle()
        return await world.call("look", {"n": 2})

    world, result = virtually(scenario)
    assert text(result) == "1"
    assert world.last(index=1).how is How.ASKED


def test_an_early_read_waits_where_a_call_before_it_was_void_or_never_told_of():
    async def scenario(world):
        world.write("write", {"n": 1})
        world.void()
        world.write("look", {"n": 2}, index=1)
        world.write("look", {"n": 3}, "other", index=1)
        await asyncio.sleep(2)

    world, _ = virtually(scenario)
    assert world.upstreams.asked == []
    assert world.meter.waits[1:] == [NotEarly.ORDER] * 2


def test_reads_that_follow_reads_run_side_by_side():
    async def scenario(world):
        world.write("read", {"n": 0})
        for index in (1, 2):
            world.write("look", {"n": index}, index=index)
        await asyncio.sleep(0.5)
        return world.runs.loads()[LOOK.key].running

    assert virtually(scenario)[1] == 2


def test_empty_arguments_run_early_only_where_the_tool_takes_none():
    async def scenario(world):
        world.write("look", {})
        world.write("plain", {}, index=1)
        await asyncio.sleep(0.5)
        return [ask.tool for ask in world.upstreams.asked]

    tools = [LOOK, tool("plain", EARLY, schema={"type": "object"})]
    assert virtually(scenario, tools)[1] == ["plain"]


def test_a_call_that_is_told_of_again_runs_once_whoever_tells():
    async def scenario(world):
        for source in ("proxy", "proxy", "another"):
            world.announce("look", source=source)
            world.fill({"n": 1, "s": 1}, source=source)
            world.fill(b'{"s":1,"n":1}', source=source)
        await asyncio.sleep(2)
        world.settle()
        await world.call("look", {"n": 1, "s": 1})
        world.announce("look", source="another")
        world.fill({"n": 1, "s": 1}, source="another")
        await asyncio.sleep(2)

    world, _ = virtually(scenario)
    assert len(world.upstreams.asked) == 1


def test_another_proxy_neither_settles_nor_voids_a_turn():
    async def scenario(world):
        world.write("look", {"n": 1})
        calling = world.asking("look", {"n": 1})
        await asyncio.sleep(2)
        world.settle(source="another")
        world.settle(why=Void.BROKEN, source="another")
        world.runs.disconnected("another")
        await asyncio.sleep(0.5)
        was_done = calling.done()
        world.settle()
        return was_done, text(await calling)

    assert virtually(scenario)[1] == (False, "1")


def test_each_announcement_serves_one_call():
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        world.settle()
        return [text(await world.call("look", {"n": 1})) for _ in range(2)]

    assert virtually(scenario)[1] == ["1", "2"]


def test_two_agents_that_wait_for_one_turn_get_a_run_each():
    async def scenario(world):
        world.write("look", {"n": 1})
        world.write("read", {"n": 1}, index=1)
        calls = [world.asking("look", {"n": 1}) for _ in range(2)]
        await asyncio.sleep(2)
        world.settle()
        return [text(await call) for call in calls]

    assert virtually(scenario)[1] == ["1", "2"]


def test_equal_announcements_are_claimed_oldest_first_those_of_ended_turns_before_others():
    async def scenario(world):
        for number in range(3):
            world.write("look", {"n": 1}, f"t{number}")
            await asyncio.sleep(1.5)
        world.settle("t1")
        world.settle("t2")
        first = [text(await world.call("look", {"n": 1})) for _ in range(2)]
        calling = world.asking("look", {"n": 1})
        await asyncio.sleep(1)
        world.settle("t0")
        return [*first, text(await calling)]

    assert virtually(scenario)[1] == ["2", "3", "1"]


def test_an_early_result_that_nobody_asks_for_in_time_is_void():
    async def scenario(world):
        world.write("look", {"n": 1})
        world.write("look", {"n": 2}, "open")
        await asyncio.sleep(2)
        world.settle()
        await asyncio.sleep(31)
        world.settle("open")
        return [text(await world.call("look", {"n": number})) for number in (1, 2)]

    world, results = virtually(scenario)
    assert results == ["3", "4"]
    assert world.audit.of("voided") == [("r1", "expired"), ("r0", "expired")]
    assert world.meter.early == [None, None]
    assert world.steps()[-1] is Step.VOID


def test_a_claimed_run_is_waited_for_however_long_announcements_live():
    async def scenario(world):
        world.write("look", {"s": 8.0})
        world.settle()
        return text(await world.call("look", {"s": 8.0}))

    world, result = virtually(scenario, claim_ttl_s=2.0)
    assert result == "1"
    assert world.audit.of("voided") == []


def test_an_agent_whose_turn_does_not_end_gets_a_run_of_its_own():
    async def scenario(world):
        world.write("look", {"s": 8.0})
        return text(await world.call("look", {"s": 8.0})), world.loop.time()

    world, (result, at) = virtually(scenario, claim_ttl_s=5.0)
    assert (result, at) == ("2", 13.0)
    assert world.audit.of("voided") == [("r0", "expired")]


def test_an_agent_that_leaves_cancels_the_run_that_it_joined():
    async def scenario(world):
        world.write("look", {"s": 9.0})
        world.settle()
        calling = world.asking("look", {"s": 9.0})
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.wait([calling])
        await asyncio.sleep(1)
        return calling.cancelled(), world.upstreams.asked[0].fate, world.upstreams.asked[0].ended_at

    world, (is_cancelled, fate, at) = virtually(scenario)
    assert is_cancelled
    assert (fate, at) == ("cancelled", 1.0)
    assert world.forecaster.observed == [("look", 1.0, "cancelled")]


def test_an_agent_that_leaves_before_its_turn_turns_out_void_leaves_a_full_audit():
    async def scenario(world):
        world.write("look", {"s": 9.0})
        calling = world.asking("look", {"s": 9.0})
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.wait([calling])
        world.settle(why=Void.REFUSED)

    world, _ = virtually(scenario)
    assert world.audit.of("voided") == [("r0", "refused")]
    assert world.forecaster.observed == []


def test_a_call_that_overtakes_its_announcement_is_matched_with_it_and_runs_once():
    async def scenario(world):
        world.announce("look")
        calling = world.asking("look", {"n": 1})
        await asyncio.sleep(0.5)
        world.fill({"n": 1})
        world.settle()
        return text(await calling)

    world, result = virtually(scenario)
    assert result == "1"
    assert len(world.upstreams.asked) == 1
    assert world.last().how is How.ASKED
    assert world.last().claimed_at == 0.0


def test_a_call_from_before_the_model_wrote_an_equal_one_is_not_matched_with_it():
    async def scenario(world):
        calling = world.asking("look", {"n": 1, "s": 5})
        await asyncio.sleep(1)
        world.write("look", {"n": 1, "s": 5})
        await calling

    assert len(virtually(scenario)[0].upstreams.asked) == 2


@pytest.mark.parametrize(
    ("answer", "num_asked", "expected"),
    [
        (ToolFault(Fault.UPSTREAM_REFUSED, "no"), 1, "upstream_refused"),
        (ToolFault(Fault.UPSTREAM_BROKE, "went away"), 1, "upstream_broke"),
        ({"isError": True, "content": []}, 1, "isError"),
        (ToolFault(Fault.UPSTREAM_DOWN, "down"), 6, "upstream_down"),
        (ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": -32021}), 2, "upstream_refused"),
        ({"resultType": "input_required", "requestState": "x"}, 2, "input_required"),
    ],
)
def test_what_an_early_run_came_to_is_given_out_unless_a_run_of_the_agents_own_may_fare_better(answer, num_asked, expected):
    async def scenario(world):
        world.upstreams.answers["look"] = [answer]
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        world.settle()
        try:
            result = await world.call("look", {"n": 1})
        except ToolFault as fault:
            return fault.fault.value
        return result.get("resultType") or next(key for key in result if key == "isError")

    world, got = virtually(scenario)
    assert got == expected
    assert len(world.upstreams.asked) == num_asked


@pytest.mark.parametrize(
    "answer", [ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": -32021}), {"resultType": "input_required", "requestState": "x"}]
)
def test_an_agent_that_waits_for_a_run_that_is_of_no_use_to_it_gets_its_own(answer):
    async def slowly(ask):
        await asyncio.sleep(1)
        if isinstance(answer, ToolFault):
            raise answer
        return answer

    async def scenario(world):
        world.upstreams.answers["look"] = [slowly, {"content": "its own"}]
        world.write("look", {"n": 1})
        world.settle()
        return (await world.call("look", {"n": 1}))["content"]

    world, result = virtually(scenario)
    assert result == "its own"
    assert world.last().how is How.ASKED


def test_a_run_that_is_cut_off_because_nobody_asked_for_it_is_not_learned_from():
    async def scenario(world):
        world.write("look", {"s": 9.0})
        world.settle()
        await asyncio.sleep(5)
        return world.upstreams.asked[0].fate

    world, fate = virtually(scenario, claim_ttl_s=2.0)
    assert fate == "cancelled"
    assert world.forecaster.observed == []


def test_early_runs_have_a_budget_for_each_tenant():
    async def scenario(world):
        for number in range(5):
            world.write("look", {"n": number, "s": 5}, f"t{number}")
        await asyncio.sleep(1)
        num_first = len(world.upstreams.asked)
        world.settle("t0")
        calling = world.asking("look", {"n": 0, "s": 5})
        await asyncio.sleep(0)
        world.write("look", {"n": 9, "s": 5}, "t9")
        await calling
        return num_first, len(world.upstreams.asked)

    world, numbers = virtually(scenario, max_early=3)
    assert numbers == (3, 4)
    assert world.meter.waits == [NotEarly.BUDGET] * 2


def test_a_result_for_which_there_is_no_room_is_not_held():
    async def scenario(world):
        world.upstreams.answers["look"] = [{"content": "x" * 600}]
        for number in range(2):
            world.write("look", {"n": number}, f"t{number}")
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        for number in range(2):
            world.settle(f"t{number}")
            await world.call("look", {"n": number})
        return [ask.arguments["n"] for ask in world.upstreams.asked]

    assert virtually(scenario, max_held_bytes=1000)[1] == [0, 1, 1]


def test_nothing_runs_early_while_the_audit_cannot_be_written():
    async def scenario(world):
        world.audit.can_write = False
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        return len(world.upstreams.asked)

    assert virtually(scenario)[1] == 0


def test_progress_buys_no_time_for_a_run_that_nobody_asked_for():
    async def progress(ask):
        for _ in range(30):
            await ask.notify("notifications/progress", {"progress": 1})
            await asyncio.sleep(1)
        return {"content": []}

    async def scenario(world):
        world.upstreams.answers["look"] = [progress]
        world.write("look", {"n": 1})
        await asyncio.sleep(20)
        return world.upstreams.asked[0].ended_at

    world, ended_at = virtually(scenario)
    assert ended_at == 10.0
    assert Step.PROGRESSED in world.steps()


def test_closing_voids_what_is_held_and_cancels_what_runs():
    async def scenario(world):
        world.write("look", {"n": 1})
        world.write("look", {"n": 2, "s": 9}, "running")
        calling = world.asking("write", {"s": 9})
        await asyncio.sleep(2)
        await world.runs.aclose()
        (fault,) = await asyncio.gather(calling, return_exceptions=True)
        late = await world.fault("write", {"n": 3})
        return fault.fault, late.fault, [ask.fate for ask in world.upstreams.asked]

    world, (fault, late, fates) = virtually(scenario)
    assert (fault, late) == (Fault.CANCELLED, Fault.CANCELLED)
    assert fates == ["answered", "cancelled", "cancelled"]
    assert len(world.audit.of("voided")) == 2


def test_the_turn_that_a_proxy_lost_long_ago_makes_room_for_a_new_one():
    async def scenario(world):
        for number in range(MAX_TURNS + 1):
            world.write("look" if number == 0 else "read", {"n": number}, f"t{number}")
        return world.audit.of("voided")

    assert virtually(scenario)[1] == [("r0", "expired")]


@pytest.mark.parametrize(
    "tell",
    [
        lambda world: world.announce("read", "ended"),
        lambda world: world.announce("read", "t0", source="another"),
        lambda world: world.announce("read", "new", -1),
        lambda world: world.announce("read", "new", MAX_CALLS),
    ],
)
def test_word_that_begins_no_turn_takes_the_place_of_none(tell):
    async def scenario(world):
        world.write("read", {"n": 1}, "ended")
        world.settle("ended", Void.LENGTH)
        for source in ("proxy", "another"):
            for number in range(MAX_TURNS):
                world.announce("read", f"{source}{number}" if source == "another" else f"t{number}", source=source)
        tell(world)
        return world.meter.ends

    assert AnnouncementEnd.EXPIRED not in virtually(scenario)[1]


def test_a_claimed_call_that_is_refused_is_ended_towards_its_proxy():
    async def scenario(world):
        world.write("write", {"n": 1})
        world.settle()
        world.audit.can_write = False
        return await world.fault("write", {"n": 1})

    world, fault = virtually(scenario)
    assert fault.fault is Fault.AUDIT
    assert world.steps() == [Step.ANNOUNCED, Step.FINISHED]
    assert not world.last().is_ok


def test_a_turn_that_never_ends_is_given_up():
    async def scenario(world):
        world.write("read", {"n": 1})
        await asyncio.sleep(MAX_OPEN_S + 1)
        return world.steps()[-1]

    assert virtually(scenario)[1] is Step.VOID


def test_a_tool_that_runs_one_at_a_time_leaves_that_slot_to_those_who_ask():
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        return len(world.upstreams.asked)

    assert virtually(scenario, [tool("look", msgspec.structs.replace(EARLY, max_running=1))])[1] == 0
