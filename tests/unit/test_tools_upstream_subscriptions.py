"""What a session is subscribed to goes on over its connections."""

import asyncio

import pytest
from tests.unit.tools_session_world import a_world

from turnwise.tools_gateway.upstreams.jsonrpc import LEGACY


@pytest.fixture
async def world():
    async with a_world() as made:
        yield made


async def test_subscriptions_go_on_over_the_next_connection_of_the_newer_revision(world):
    first = await world.up()
    await world.ask("resources/subscribe", {"uri": "file:///a"})
    assert first.watched[-1] == ["file:///a"]
    first.lose("gone")
    second = await world.up()
    await world.until(lambda: second.watched)
    assert second.watched == [["file:///a"]]
    await world.ask("resources/unsubscribe", {"uri": "file:///a"})
    assert second.watched[-1] == []


async def test_many_who_subscribe_at_once_have_one_stream_that_names_all_of_their_resources(world):
    connection = await world.up()
    for turn in range(3):
        await asyncio.gather(*(world.ask("resources/subscribe", {"uri": f"x://{turn}/{n}"}) for n in range(10)))
        assert connection.num_streams == 1
        assert len(connection.watched[-1]) == 10 * (turn + 1)
    assert len(connection.watched) <= 1 + 3 * 2
    connection.lose("gone")
    await world.until(lambda: connection.is_closed)
    assert connection.num_streams == 0


async def test_who_subscribes_as_the_connection_is_lost_does_not_wait_for_ever_nor_leave_a_stream(world):
    connection = await world.up()
    task = world.ask("resources/subscribe", {"uri": "x://1"})
    await asyncio.sleep(0)
    connection.lose("gone")
    await asyncio.wait((task,))
    await world.until(lambda: connection.is_closed)
    assert connection.num_streams == 0


async def test_who_subscribes_while_a_stream_has_ended_has_it_opened_at_once(world):
    connection = await world.up()
    await world.until(lambda: connection.num_streams)
    connection.stream_ended.set()
    await world.until(lambda: not connection.num_streams)
    connection.stream_ended.clear()
    await world.ask("resources/subscribe", {"uri": "x://1"})
    assert connection.watched[-1] == ["x://1"]


async def test_subscriptions_are_made_again_in_a_new_session_of_an_older_revision(world):
    first = await world.up(version=LEGACY)
    await world.ask("resources/subscribe", {"uri": "file:///a"})
    first.lose("gone")
    second = await world.up(version=LEGACY)
    await world.until(lambda: ("resources/subscribe", {"uri": "file:///a"}) in second.asked)
