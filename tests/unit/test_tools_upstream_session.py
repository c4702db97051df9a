import asyncio

import pytest
from tests.unit.tools_session_world import DOWN, Connection, World, a_world, end, fault_of

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.upstreams import State
from turnwise.tools_gateway.upstreams.connection import Unsent
from turnwise.tools_gateway.upstreams.jsonrpc import MODERN
from turnwise.tools_gateway.values import Fault, ToolFault


@pytest.fixture
async def world():
    async with a_world() as made:
        yield made


async def test_a_request_waits_for_the_first_connection(world):
    task = world.ask()
    await world.up()
    assert await task == {"said": "tools/call"}


async def test_a_request_fails_at_once_while_the_upstream_is_down(world):
    world.dial.given.put_nowait(DOWN)
    first = world.ask()
    with pytest.raises(ToolFault, match="cannot be reached"):
        await first
    second = world.ask()
    with pytest.raises(ToolFault) as caught:
        await second
    assert caught.value.fault is Fault.UPSTREAM_DOWN
    assert world.session.facts().num_faults == 2


async def test_all_pages_of_tools_are_handed_on(world):
    pages = [{"tools": [{"name": "a"}], "nextCursor": "1"}, {"tools": [{"name": "b"}]}]
    world.dial.given.put_nowait(Connection(world.session, pages=pages))
    assert await world.listed.get() == [{"name": "a"}, {"name": "b"}]


async def test_pages_without_end_are_taken_for_broken(world):
    endless = Connection(world.session, pages=[{"tools": [], "nextCursor": "0"}])
    world.dial.given.put_nowait(endless)
    await world.until(lambda: endless.is_closed)
    assert world.listed.empty()
    assert "without end" in world.session._why


@pytest.mark.parametrize("page", [{}, {"tools": 7}, {"tools": [7]}, {"tools": [{"name": 7}]}])
async def test_a_list_of_what_are_no_tools_is_taken_for_broken(world, page):
    sloppy = Connection(world.session, pages=[page])
    world.dial.given.put_nowait(sloppy)
    await world.until(lambda: sloppy.is_closed)
    assert "no tools" in world.session._why


async def test_a_changed_list_is_asked_for_again(world):
    connection = await world.up()
    connection.pages = [{"tools": []}]
    world.now = 2.0
    world.session.news("notifications/tools/list_changed", {})
    assert await world.listed.get() == []
    assert world.told == []


async def test_a_list_that_changes_all_the_time_is_asked_for_once_a_second(world):
    connection = await world.up()
    for _ in range(100):
        world.session.news("notifications/tools/list_changed", {})
        await world.ask()
    assert [method for method, _ in connection.asked].count("tools/list") == 1
    world.now = 2.0
    world.session.news("notifications/tools/list_changed", {})
    await world.listed.get()
    assert [method for method, _ in connection.asked].count("tools/list") == 2


async def test_an_upstream_that_will_not_list_again_keeps_the_list_it_gave(world):
    connection = await world.up()
    refusal = ToolFault(Fault.UPSTREAM_REFUSED, "not now", {"code": -32000, "message": "not now"})
    connection.pages = [refusal]
    world.now = 2.0
    world.session.news("notifications/tools/list_changed", {})
    await world.until(lambda: len(connection.asked) == 2)
    assert await world.ask() == {"said": "tools/call"}
    assert connection.lost is None


async def test_other_news_are_handed_on(world):
    await world.up()
    world.session.news("notifications/resources/list_changed", {"a": 1})
    assert world.told == [("notifications/resources/list_changed", {"a": 1})]


def test_reasons_that_take_turns_are_each_logged_once(caplog):
    async def scenario():
        world = World()
        for n in range(10):
            why = "it ended with status 3" if n % 2 else "it takes no more requests"
            world.dial.given.put_nowait(ToolFault(Fault.UPSTREAM_DOWN, why))
        await asyncio.sleep(20)
        await end(world)

    run_virtual(scenario())
    assert [record.levelname for record in caplog.records if "down:" in record.message].count("WARNING") == 2


async def test_a_lost_connection_is_followed_by_the_next_and_closed(world):
    before = await world.up()
    before.lose("it is gone")
    await world.up()
    assert before.is_closed
    assert await world.ask() == {"said": "tools/call"}
    assert world.session.facts().state is State.UP
    assert world.session.facts().num_dials == 2


async def test_a_request_that_was_not_taken_is_sent_to_the_next_connection(world):
    gone = await world.up()

    async def end():
        gone.lose("the session has ended")
        raise Unsent(Fault.UPSTREAM_DOWN, "the session has ended")

    gone.answers["tools/call"] = end
    task = world.ask()
    await world.up()
    assert await task == {"said": "tools/call"}


async def test_a_request_that_went_out_and_has_no_answer_is_never_sent_again(world):
    gone = await world.up()

    async def end():
        gone.lose("it is gone")
        raise ToolFault(Fault.UPSTREAM_BROKE, "it is gone")

    gone.answers["tools/call"] = end
    task = world.ask()
    after = await world.up()
    await asyncio.wait((task,))
    assert fault_of(task) is Fault.UPSTREAM_BROKE
    assert "tools/call" not in [method for method, _ in after.asked]


async def test_a_request_past_its_deadline_ends_and_the_upstream_is_looked_after(world):
    connection = await world.up(answers={"tools/call": asyncio.Event().wait, "check": {}})
    task = world.ask(deadline=0.0)
    await asyncio.wait((task,))
    assert fault_of(task) is Fault.DEADLINE
    await world.until(lambda: ("check", {}) in connection.asked)
    assert connection.lost is None
    assert world.session.facts().in_flight == 0


async def test_an_upstream_that_fails_the_check_is_given_up(world):
    hung = await world.up(answers={"tools/call": asyncio.Event().wait, "check": ToolFault(Fault.UPSTREAM_BROKE, "not a word")})
    task = world.ask(deadline=0.0)
    await asyncio.wait((task,))
    assert fault_of(task) is Fault.DEADLINE
    await world.up()
    assert hung.lost is not None
    assert hung.is_closed


async def test_a_bug_in_whoever_hears_of_tools_ends_one_connection_and_not_the_session(world, caplog):
    put, world.session._on_tools = world.session._on_tools, lambda definitions: 1 / 0
    broken = Connection(world.session)
    world.dial.given.put_nowait(broken)
    await world.until(lambda: broken.is_closed)
    world.session._on_tools = put
    await world.up()
    assert "ZeroDivisionError" in caplog.text


async def test_facts_tell_sessions_apart_and_no_secret(world):
    await world.up()
    facts = world.session.facts()
    assert (facts.upstream, facts.credential, facts.era) == ("one", "secret-d", MODERN)


def test_a_program_that_does_one_thing_at_a_time_is_not_ended_while_somebody_waits_for_that():
    async def scenario():
        world, free = World(), asyncio.Event()

        async def work():
            await free.wait()
            return {"said": "at last"}

        connection = await world.up(answers=dict.fromkeys(("tools/call", "resources/list", "check"), work))
        long = world.ask()
        short = world.ask("resources/list", deadline=1.0)
        await asyncio.wait((short,))
        assert fault_of(short) is Fault.DEADLINE
        await asyncio.sleep(60)
        assert connection.lost is None
        free.set()
        assert await long == {"said": "at last"}
        await end(world)

    run_virtual(scenario())


def test_a_program_that_answers_nobody_is_ended_once_nobody_waits_for_what_was_asked_before():
    async def scenario():
        world = World()
        connection = await world.up(answers=dict.fromkeys(("tools/call", "check"), asyncio.Event().wait))
        asked = [world.ask(deadline=deadline) for deadline in (1.0, 20.0)]
        await asyncio.sleep(2)
        while connection.lost is None:
            asked.append(world.ask(deadline=100.0))
            await asyncio.sleep(1)
        assert 20 <= asyncio.get_running_loop().time() <= 30
        assert all(isinstance(fault, ToolFault) for fault in await asyncio.gather(*asked, return_exceptions=True))
        await end(world)

    run_virtual(scenario())
