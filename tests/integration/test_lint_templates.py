"""Breaks that only the engine's template causes, and those of clients, as a running proxy finds, counts and logs them."""

import asyncio
import json
import logging
import random
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from turnwise.proxy.lint import Cause
from turnwise.settings import LintSettings

DAY_S = 5.0
TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"{name} a file " * 6, "parameters": {"type": "object"}}}
    for name in ("read", "write", "list")
]


def words(rng, count):
    return " ".join(f"{rng.getrandbits(24):x}" for _ in range(count))


class Talker:
    """One agent: every call carries the answer to the one before, with its reasoning."""

    def __init__(self, rng, **fields):
        self.rng = rng
        self.fields = fields
        self.messages = [{"role": "system", "content": words(rng, 90)}, {"role": "user", "content": words(rng, 30)}]

    async def call(self, proxy, **fields):
        body = {"model": "sim", "messages": self.messages, "max_tokens": 40, **self.fields, **fields}
        client = await proxy.call(body)
        assert client.head.status == 200, client.body
        said = client.json()["choices"][0]["message"]
        turn = {key: said[key] for key in ("role", "content", "reasoning", "tool_calls") if said.get(key)}
        self.messages = [*self.messages, turn, {"role": "user", "content": f" {words(self.rng, 20)}\n"}]
        return proxy.recorder.recent[-1]["prefix_break"]


def causes_of_talk(virtually, world, seed, *, calls=6, think_s=1.0, settings=None, **options):
    """The causes that are found in one conversation, call by call."""

    async def main():
        rng = random.Random(seed)
        async with world(1, changes=settings, **options) as proxy:
            talker = Talker(rng, tools=TOOLS)
            found = []
            for _ in range(calls):
                found.append(await talker.call(proxy))
                await asyncio.sleep(think_s)
            return [None if broken is None else broken["cause"] for broken in found]

    return virtually(main())


@pytest.mark.parametrize(
    ("cause", "options"),
    [
        (Cause.TEMPLATE_DATE_OR_HEAD, {"template": "dated", "template_day_s": DAY_S, "think_s": DAY_S / 2}),
        (Cause.TEMPLATE_DROPS_REASONING, {"template": "drops_reasoning", "reasoning_share": 1.0}),
        (Cause.TEMPLATE_REORDERS, {"template": "tools_before_last_user"}),
        (Cause.TEMPLATE_REORDERS, {"template": "trims"}),
        (Cause.TEMPLATE_REORDERS, {"template": "tools_before_last_user", "reasoning_share": 0.5}),
        (Cause.TEMPLATE_REORDERS, {"template": "trims", "reasoning_share": 0.5}),
    ],
    ids=lambda value: value.get("template") if isinstance(value, dict) else "",
)
def test_what_a_template_breaks_is_laid_to_it(virtually, world, cause, options):
    named = Counter()
    for seed in range(12):
        named.update(causes_of_talk(virtually, world, seed, **options)[1:])
    broken = sum(named.values()) - named[None]
    assert broken >= 12, named
    assert named[cause] / broken >= 0.95, named


@pytest.mark.parametrize("template", ["plain", "tools_after_system", "tools_before_system"])
def test_a_template_that_renders_every_turn_alike_raises_no_finding(virtually, world, template):
    for seed in range(5):
        found = causes_of_talk(virtually, world, seed, template=template, reasoning_share=0.5)
        assert found == [None] * len(found)


def samples(proxy):
    families = text_string_to_metric_families(proxy.metrics.render().decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def change_clock(talker, minute):
    talker.messages[0] = {"role": "system", "content": f"It is 12:{minute:02} now. {talker.system}"}


async def talk_by_the_clock(proxy, calls):
    talker = Talker(random.Random(7))
    talker.system = talker.messages[0]["content"]
    found = []
    for minute in range(calls):
        change_clock(talker, minute)
        found.append(await talker.call(proxy))
        await asyncio.sleep(1.0)
    return found


def test_a_finding_is_in_the_record_of_its_call_in_the_metrics_and_once_a_minute_in_the_log(virtually, world, caplog):
    async def main():
        async with world(1) as proxy:
            return await talk_by_the_clock(proxy, 4), samples(proxy), list(proxy.recorder.recent)

    with caplog.at_level(logging.INFO, "turnwise.lint"):
        found, metrics, calls = virtually(main())
    assert found[0] is None
    assert [broken["cause"] for broken in found[1:]] == [Cause.TIMESTAMP_IN_SYSTEM] * 3
    assert {(broken["segment"], broken["kind"]) for broken in found[1:]} == {(0, "system")}
    assert metrics["turnwise_prefix_breaks_total", "timestamp_in_system"] == 3
    lost = [broken["tokens_lost"] for broken in found[1:]]
    assert metrics["turnwise_prefix_lost_tokens_total", "timestamp_in_system"] == sum(lost)
    for broken, before, call in zip(found[1:], calls, calls[1:], strict=False):
        assert 0 < broken["tokens_lost"] <= before["usage"].prompt_tokens
        assert broken["tokens_lost"] <= call["usage"].prompt_tokens - call["usage"].cached_tokens
    (record,) = [record.msg for record in caplog.records if record.name == "turnwise.lint"]
    assert (record["event"], record["call_id"], record["cause"]) == ("prefix_break", calls[1]["call_id"], found[1]["cause"])
    assert "It is 12" not in json.dumps(record)
    assert "round it to the day" in record["message"]


def test_a_break_whose_events_come_after_the_answer_is_counted_and_logged_then(virtually, world, caplog):
    async def main():
        async with world(1, template="drops_reasoning", reasoning_share=1.0, drop_batches=0.9, seed=3) as proxy:
            talker = Talker(random.Random(3))
            told = []
            for _ in range(12):
                told.append(await talker.call(proxy))
                await asyncio.sleep(3.0)
            return told, samples(proxy), list(proxy.recorder.recent)

    with caplog.at_level(logging.INFO, "turnwise.lint"):
        told, metrics, calls = virtually(main())
    at_once = sum(broken is not None for broken in told)
    assert at_once < metrics["turnwise_prefix_breaks_total", "template_drops_reasoning"]
    late = [record.msg for record in caplog.records if record.name == "turnwise.lint" and record.msg["request_id"] is None]
    assert {line["call_id"] for line in late} <= {call["call_id"] for call in calls if call["lesson"] == "pending"}


def test_a_call_that_failed_is_not_compared(virtually, world):
    async def main():
        async with world(1) as proxy:
            await talk_by_the_clock(proxy, 1)
            client = await proxy.call({"model": "sim", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0})
            return client.head.status, proxy.recorder.linter.stats.num_prompts

    assert virtually(main()) == (400, 1)


def test_without_room_no_prompt_is_compared(virtually, world):
    async def main():
        async with world(1, changes={"lint": LintSettings(max_bytes=0)}) as proxy:
            found = await talk_by_the_clock(proxy, 3)
            return found, [name for name, *_ in samples(proxy) if name.startswith("turnwise_prefix")]

    assert virtually(main()) == ([None] * 3, [])
