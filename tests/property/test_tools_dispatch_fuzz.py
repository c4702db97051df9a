"""From the bytes of a model to the results of tools: whatever is written and asked for, nothing runs that must not.

Random answers pass the watcher; what it tells goes to a gateway's runs between fakes, on virtual time; an agent then asks for
what it read, or for something else, or for nothing. `TURNWISE_FUZZ_CASES` sets the number of turns in each API, half of it.
"""

import asyncio
import json
import math
import os
import random
from collections import Counter
from functools import partial

import pytest
from tests.property.tool_plans import LIMIT, plan
from tests.unit.tool_runs_world import EARLY, READ, WRITE, World, text, tool
from tests.unit.tool_streams import CHAT, FACTS, MESSAGES, RESPONSES, Carried, body, request

from turnwise.dialects import DIALECTS
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.dispatch import Dispatch
from turnwise.tools_gateway.messages import Announced, Filled, Settled, Voided

NUM_CASES = 2 * int(os.environ.get("TURNWISE_FUZZ_CASES", "100"))
LIMITS = {CHAT: "max_tokens", MESSAGES: "max_tokens", RESPONSES: "max_output_tokens"}
MARKS = {"f": EARLY, "g": READ, "h": WRITE}
"""The tools that models of this test call: one may run early, one is only read-only, one changes things."""
PER_WORLD = 50
RATES = {"early": 0.22, "joined": 0.08, "voided": 0.15, "asked": 1.2}
"""Of what a turn brings, a little under what 1,500 turns of each API brought: the test must meet what it judges."""


class Link:
    """Hands what the proxy tells to the runs, and keeps what was void."""

    is_listening = True

    def __init__(self, world):
        self.world = world
        self.announced = {}
        self.filled = {}
        self.voided = set()
        self.settled = {}

    def tell(self, message):
        runs, source = self.world.runs, self.world.source
        if type(message) is Announced:
            self.announced[message.turn, message.index] = message
            runs.announced(source, message)
        elif type(message) is Filled:
            self.filled[message.turn, message.index] = message
            runs.filled(source, message)
        elif type(message) is Voided:
            self.voided.add((message.turn, message.index))
            runs.voided(source, message)
        else:
            assert type(message) is Settled
            self.settled[message.turn] = message.why
            runs.settled(source, message)


async def turn(world, link, made, draw):
    """One answer passes, in time, and the agent asks; gives what it asked for, when, and what it was given."""
    asked = request(made.path, body(made.path, **{LIMITS[made.path]: LIMIT}))
    tap = DIALECTS[asked.dialect].tap()
    dispatch = Dispatch(link, lambda _: None)  # a new one each time: these engines drift so much that nothing would be early
    watch = dispatch.watch(asked, None, FACTS, tap, tap)
    watch.on_head(200, is_stream=True)
    pauses = min(0.5, 10 / len(made.reads))
    for data in made.reads[: made.num_delivered]:
        watch.feed(data, world.loop.time())
        if draw.random() < pauses:
            await asyncio.sleep(draw.choice([0.0, 0.01, 0.3]))
    if made.is_whole:
        watch.close(world.loop.time())
    settle = partial(watch.settle, Carried(is_complete=made.is_whole, is_client_gone=made.is_client_gone))
    is_hasty = draw.random() < 0.3
    if not is_hasty:
        settle(world.loop.time())
        await asyncio.sleep(draw.choice([0.0, 0.0, 0.5]))
    # Nothing that is not marked has run before anybody asks.
    assert {ask.tool for ask in world.upstreams.asked[link.seen :]} <= {"f"}
    asking = []
    for call in made.calls:
        if draw.random() < 0.75 and call.is_good:
            arguments = json.loads(call.text or "{}")
            if draw.random() < 0.1:
                arguments["other"] = draw.random()
            asking.append((call.name, arguments, world.loop.time(), world.asking(call.name, arguments)))
    draw.shuffle(asking)
    if is_hasty:
        await asyncio.sleep(draw.choice([0.0, 0.01, 1.5]))
        settle(world.loop.time())
    results = await asyncio.gather(*(task for *_, task in asking))
    return asked.call_id, [
        (name, arguments, at, text(result)) for (name, arguments, at, _), result in zip(asking, results, strict=True)
    ]


async def scenario(path, seeds):
    async with World(
        [tool(name, marks) for name, marks in MARKS.items()], max_running=64, max_early=64, claim_ttl_s=2.0
    ) as world:
        link = Link(world)
        for seed in seeds:
            draw = random.Random(f"agent {seed} {path}")
            link.seen, before = len(world.upstreams.asked), len(world.audit.records)
            try:
                call_id, asked = await turn(world, link, plan(seed, path), draw)
                await asyncio.sleep(4.0)  # whatever nobody asked for is given up by then
                check(world, link, call_id, asked, world.audit.records[before:])
            except AssertionError as error:
                error.add_note(f"seed {seed} of {path}")
                raise
        return Counter(record[4] if record[0] == "decided" else record[0] for record in world.audit.records)


def check(world, link, call_id, asked, records):
    ran = {str(number + 1): ask for number, ask in enumerate(world.upstreams.asked) if number >= link.seen}
    decided = [record[4] for record in records if record[0] == "decided"]
    num_voided = sum(record[0] == "voided" for record in records)
    num_early, num_joined = decided.count("early"), decided.count("joined")
    # Every run was decided on. An early one was joined, or is written down as void, perhaps with somebody waiting for it.
    assert num_voided <= num_early <= num_joined + num_voided
    assert num_early + decided.count("asked") - num_voided <= len(ran) <= num_early + decided.count("asked")
    # Nobody is answered by a run that answered another, or that ran something else.
    given = [number for *_, number in asked]
    assert len(set(given)) == len(given)
    assert [(ran[number].tool, ran[number].arguments) for number in given] == [
        (name, arguments) for name, arguments, *_ in asked
    ]
    # What ran for nobody was an early run, and void; what was still running then was cancelled.
    unclaimed = [ask for number, ask in ran.items() if number not in given]
    assert len(unclaimed) <= num_voided
    assert all(ask.tool == "f" and ask.ended_at is not None for ask in unclaimed)
    # What had begun before it was asked for belongs to a call that was whole, of a turn that ended cleanly.
    whole = [
        (link.announced[key].tool, json.loads(bytes(message.arguments)))
        for key, message in link.filled.items()
        if key[0] == call_id and key not in link.voided
    ]
    for name, arguments, at, number in asked:
        if ran[number].at < at:
            assert link.settled[call_id] is None
            assert name == "f"
            whole.remove((name, arguments))


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_fuzz_no_call_runs_twice_nothing_void_is_released_and_nothing_unmarked_runs_before_it_is_asked_for(path):
    met = Counter()
    for first in range(0, NUM_CASES, PER_WORLD):
        met += run_virtual(scenario(path, range(first, min(first + PER_WORLD, NUM_CASES))))
    # Each comes about as a rare event does: its number spreads by the root of what is expected of it.
    least = {what: NUM_CASES * rate - 4 * math.sqrt(NUM_CASES * rate) for what, rate in RATES.items()}
    assert all(met[what] > number for what, number in least.items()), (met, least)
