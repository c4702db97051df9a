"""The local socket between the proxy and the tools gateway, both ends of it real."""

import asyncio
import socket
from collections.abc import Callable

import msgspec
from tests.integration.link.ends import PATIENCE_S, FakeRuns, announced, connected, gateway, settled_loop, told, until

from turnwise.tools_gateway.link import Link
from turnwise.tools_gateway.messages import (
    MAX_LINE_BYTES,
    Announced,
    Filled,
    Hello,
    Settled,
    ToolTold,
    Void,
    Voided,
    encode,
)
from turnwise.types import CallId


async def test_what_a_proxy_tells_arrives_whole_and_in_its_order(path: str, runs: FakeRuns, link: Link):
    arguments = msgspec.Raw(b'{\n  "a": "one\\nline"\r\n}')
    messages = [
        announced(),
        Filled(CallId("turn"), 0, arguments, 1.5),
        announced(index=1),
        Voided(CallId("turn"), 1, Void.MALFORMED, 1.6),
        Settled(CallId("turn"), 2.0),
    ]
    async with connected(gateway(path)) as proxy:
        await settled_loop(lambda: proxy.is_listening)
        for message in messages:
            proxy.tell(message)
        await runs.until(lambda: len(runs.told) == len(messages))
    heard = [message for _, message in runs.told]
    assert heard[0] == messages[0]
    assert heard[2:] == messages[2:]
    assert msgspec.json.decode(heard[1].arguments) == {"a": "one\nline"}
    assert len({source for source, _ in runs.told}) == 1
    assert (proxy.stats.told, proxy.stats.dropped, proxy.stats.lost_turns) == (5, 0, 0)


async def test_runs_are_told_to_the_proxy_that_announced_them_and_to_no_other(path: str, runs: FakeRuns, link: Link):
    heard: dict[str, list[ToolTold]] = {"one": [], "two": []}
    woken = asyncio.Event()

    def hear(name: str) -> Callable[[ToolTold], None]:
        return lambda told: (heard[name].append(told), woken.set())[1]

    async with connected(gateway(path, hear("one"))) as one, connected(gateway(path, hear("two"))) as two:
        await settled_loop(lambda: one.is_listening and two.is_listening)
        one.tell(announced("of one"))
        two.tell(announced("of two"))
        await runs.until(lambda: len(runs.told) == 2)
        for source, message in runs.told:
            link.tool_told(source, told(message.turn))
        await until(woken, lambda: len(heard["one"]) == len(heard["two"]) == 1)
    assert heard == {"one": [told("of one")], "two": [told("of two")]}
    assert link.stats.told == 2


async def test_a_proxy_that_goes_voids_its_turns_and_a_run_told_to_it_is_dropped_and_counted(
    path: str, runs: FakeRuns, link: Link
):
    async with connected(gateway(path)) as proxy:
        await settled_loop(lambda: proxy.is_listening)
        proxy.tell(announced())
        await runs.until(lambda: len(runs.told) == 1)
    await runs.until(lambda: len(runs.gone) == 1)
    source = runs.told[0][0]
    assert runs.gone == [source]
    link.tool_told(source, told())
    await settled_loop(lambda: link.stats.connections == 0)
    assert proxy.stats.lost_turns == 1


async def test_a_gateway_that_comes_back_is_told_of_new_turns_and_of_none_that_began_before(path: str, runs: FakeRuns):
    first = Link(path)
    await first.open(runs)  # type: ignore[arg-type]
    async with connected(gateway(path)) as proxy:
        await settled_loop(lambda: proxy.is_listening)
        proxy.tell(announced("before"))
        await runs.until(lambda: len(runs.told) == 1)
        await first.close()
        await settled_loop(lambda: not proxy.is_listening)
        assert proxy.stats.lost_turns == 1
        proxy.tell(announced("between"))
        second = Link(path)
        await second.open(runs)  # type: ignore[arg-type]
        await settled_loop(lambda: proxy.is_listening)
        for turn in ("before", "between"):
            proxy.tell(announced(turn, 1))
            proxy.tell(Settled(CallId(turn), 3.0))
        proxy.tell(announced("after"))
        await runs.until(lambda: len(runs.told) == 2)
        assert [message.turn for _, message in runs.told] == ["before", "after"]
        assert proxy.stats.lost_turns == 2
        await second.close()


async def test_after_a_message_that_found_no_room_nothing_of_its_turn_is_told_but_other_turns_are(path: str):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    listener.bind(path)
    listener.listen()
    loop = asyncio.get_running_loop()
    async with connected(gateway(path, max_pending_bytes=2048)) as proxy:
        other, _ = await asyncio.wait_for(loop.sock_accept(listener), PATIENCE_S)
        await loop.sock_sendall(other, encode(Hello()))
        await settled_loop(lambda: proxy.is_listening)
        big = msgspec.Raw(b'"' + b"x" * 1024 + b'"')
        proxy.tell(announced("whole"))
        number = 0
        while not proxy.stats.dropped:  # nobody reads: the system's buffer fills, then ours
            number += 1
            proxy.tell(announced(f"turn {number}"))
            if proxy.stats.dropped:
                break
            proxy.tell(Filled(CallId(f"turn {number}"), 0, big, 1.0))
        lost = f"turn {number}"
        received = b""
        while b'"turn %d"' % (number - 1) not in received:
            received += await asyncio.wait_for(loop.sock_recv(other, 1 << 20), PATIENCE_S)
        await settled_loop(lambda: not proxy._connection.pending_bytes)
        before = proxy.stats
        proxy.tell(Settled(CallId(lost), 2.0))
        assert proxy.stats.told == before.told
        assert proxy.stats.dropped == before.dropped + 1
        assert proxy.stats.lost_turns == 1
        proxy.tell(Settled(CallId("whole"), 2.0))
        assert proxy.stats.told == before.told + 1
        proxy.tell(announced(lost))
        assert proxy.stats.told == before.told + 2, "a lost turn is forgotten with its end"
        other.close()
    listener.close()


async def test_a_message_that_is_too_long_or_cannot_be_written_takes_its_turn_with_it_and_raises_nothing(
    path: str, runs: FakeRuns, link: Link
):
    async with connected(gateway(path, max_pending_bytes=4 * MAX_LINE_BYTES)) as proxy:
        await settled_loop(lambda: proxy.is_listening)
        proxy.tell(announced("long"))
        proxy.tell(Filled(CallId("long"), 0, msgspec.Raw(b'"' + b"x" * MAX_LINE_BYTES + b'"'), 1.0))
        proxy.tell(Settled(CallId("long"), 2.0))
        proxy.tell(Announced(CallId("odd"), 0, "\ud800", "id", 1.0))
        proxy.tell(Settled(CallId("odd"), 2.0))
        proxy.tell(announced("good"))
        await runs.until(lambda: len(runs.told) == 2)
    assert [message.turn for _, message in runs.told] == ["long", "good"]
    assert (proxy.stats.dropped, proxy.stats.lost_turns) == (4, 3), "the good turn was open when the proxy stopped"


async def test_what_comes_of_a_turn_of_which_nothing_was_announced_is_not_told(path: str, runs: FakeRuns, link: Link):
    async with connected(gateway(path)) as proxy:
        await settled_loop(lambda: proxy.is_listening)
        proxy.tell(Settled(CallId("quiet"), 1.0))
        proxy.tell(announced())
        await runs.until(lambda: len(runs.told) == 1)
    assert proxy.stats.dropped == 0
