"""`turnwise doctor`: what each replica offers, and the exact engine flag for what it does not."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import AsyncExitStack
from enum import StrEnum
from urllib.parse import urlsplit

import httpx
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from turnwise.engines.base import EngineAdapter, EventSource, FeedLost, ReplayUnavailable
from turnwise.engines.vllm import VllmAdapter
from turnwise.events import BlocksStored, EventSourceInfo, ReplicaFacts
from turnwise.proxy.discovery import event_source
from turnwise.proxy.export import otlp
from turnwise.proxy.export.otlp.sending import Verdict
from turnwise.proxy.gateway.probe import Silent, probe
from turnwise.settings import Replica, Settings

EVENTS_FLAG = (
    """--kv-events-config '{"enable_kv_cache_events": true, "publisher": "zmq", "endpoint": "tcp://*:5557", """
    """"replay_endpoint": "tcp://*:5558", "topic": "kv-events"}'"""
)
REPLAY_FLAG = '"replay_endpoint": "tcp://*:5558" in --kv-events-config'
DETAILS_FLAG = "--enable-prompt-tokens-details"
CACHING_FLAG = "--enable-prefix-caching"

STAMPED = "stamped events"

PROBE_TIMEOUT_S = 30.0
EVENT_TIMEOUT_S = 3.0
CONNECT_TIMEOUT_S = 3.0

PROBE_WORDS = 600
"""Enough of a prompt to fill a block of any common size, and never seen before, so that something is stored."""


class Mark(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One fact about one replica; `advice` is what to change where it is not well."""

    name: str
    mark: Mark
    found: str
    advice: str = ""


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    prompt_tokens_details: dict[str, object] | None = None


class _Answer(msgspec.Struct, frozen=True):
    usage: _Usage | None = None


def run(settings: Settings) -> int:
    """Do what `check_all` does, on a loop of its own."""
    return asyncio.run(check_all(settings))


async def check_all(settings: Settings) -> int:
    """Check every replica of `settings`, where traces go and the tools gateway, and print it; returns 0 if all is well."""
    examined = await asyncio.gather(*(examine_one(replica) for replica in settings.replicas))
    console = Console()
    for replica, (checks, _) in zip(settings.replicas, examined, strict=True):
        console.print(_table(replica, checks))
    for line in domains([(replica.name, facts) for replica, (_, facts) in zip(settings.replicas, examined, strict=True)]):
        console.print(Text(line))
    is_well = all(check.mark is not Mark.FAIL for checks, _ in examined for check in checks)
    if (found := otlp.target_of(settings, os.environ)) is not None:
        answer = await asyncio.to_thread(otlp.probe, found)
        console.print(Text(f"traces: {found.url}: {answer.why or 'takes spans'}"))
        is_well = is_well and answer.verdict is Verdict.TAKEN
    if settings.tools.socket:
        found_gateway, answers = await _gateway(settings.tools.socket)
        console.print(Text(f"tools gateway: {found_gateway}"))
        is_well = is_well and answers
    console.print("all replicas can be routed to" if is_well else "some checks failed; see the right column")
    return 0 if is_well else 1


async def examine_one(replica: Replica) -> tuple[list[Check], ReplicaFacts | None]:
    """Run every check on one replica, over a connection of its own."""
    async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False) as http:
        return await examine(replica, VllmAdapter(), http)


async def examine(replica: Replica, adapter: EngineAdapter, http: httpx.AsyncClient) -> tuple[list[Check], ReplicaFacts | None]:
    """Run every check on one replica; sends it one call of a few hundred tokens with one token to generate."""
    try:
        facts = await adapter.discover(http, replica.url)
    except (httpx.HTTPError, ValueError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        return [Check("reachable", Mark.FAIL, why, "is it running, and is this its base URL (no path)?")], None
    load = facts.load
    checks = [
        Check("reachable", Mark.OK, replica.url),
        Check("version", Mark.OK if facts.version else Mark.WARN, facts.version or "not told"),
        _models(facts),
        _known("block size", load.block_size, "blocks cannot be counted; predictions go by tokens"),
        _known("cache size (blocks)", load.num_blocks, "the setting index.max_predicted_tokens bounds predictions"),
        _known("hash algorithm", load.hash_algorithm, f"is prefix caching on? {CACHING_FLAG}"),
    ]
    source = event_source(replica, facts)
    stamp = "doctor-" + secrets.token_hex(8)
    if source is None:
        checks += [_unheard(replica, facts), await _usage(replica, facts, http, stamp)]
        return checks, facts
    checks.append(await _reach("KV events", source.endpoint, EVENTS_FLAG))
    checks.append(await _replay(source, adapter.events(source)))
    async with AsyncExitStack() as stack:
        try:
            events = await stack.enter_async_context(adapter.events(source))
        except FeedLost as error:
            checks += [await _usage(replica, facts, http, stamp), Check(STAMPED, Mark.FAIL, str(error), EVENTS_FLAG)]
        else:
            heard = asyncio.create_task(_hear(events, stamp))
            stack.callback(heard.cancel)
            checks += [await _usage(replica, facts, http, stamp), await _stamped(heard)]
    return checks, facts


async def _gateway(path: str) -> tuple[str, bool]:
    """What to say of the tools gateway, and whether it answers."""
    try:
        return f"{path}: {await probe(path)} answers", True
    except Silent as error:
        return f"{path}: {error}; is `turnwise tools serve` running, with this path as its front.socket?", False


def domains(fleet: list[tuple[str, ReplicaFacts | None]]) -> list[str]:
    """Say which replicas may share what is known of block hashes: equal model, block size and hash algorithm."""
    groups: dict[str, list[str]] = {}
    for name, facts in fleet:
        if facts is not None:
            model = facts.models[0] if facts.models else "?"
            key = f"{model}, blocks of {facts.load.block_size or '?'}, {facts.load.hash_algorithm or '?'}"
            groups.setdefault(key, []).append(name)
    return [f"hash domain ({key}): {', '.join(names)}" for key, names in groups.items()]


def _unheard(replica: Replica, facts: ReplicaFacts) -> Check:
    """Why a replica's events are not listened to."""
    name = "KV events"
    if replica.events == "off":
        return Check(name, Mark.OK, "off by setting: its cache is predicted")
    if len(facts.event_sources) > 1:
        ranks = f"predicted: several ranks ({len(facts.event_sources)}), and which of them takes a call is not known"
        return Check(name, Mark.WARN, ranks, "give each rank a port and a replica of its own")
    return Check(name, Mark.WARN, "not published: its cache is predicted, not known", EVENTS_FLAG)


def _models(facts: ReplicaFacts) -> Check:
    if not facts.models:
        return Check("models", Mark.FAIL, "none", "no call can be routed to it")
    return Check("models", Mark.OK, ", ".join(facts.models))


def _known(name: str, value: object, without: str) -> Check:
    return Check(name, Mark.WARN, "not told", without) if value is None else Check(name, Mark.OK, str(value))


async def _reach(name: str, endpoint: str, advice: str) -> Check:
    """Open and close a TCP connection to a ZMQ endpoint."""
    try:
        parts = urlsplit(endpoint)
        if parts.scheme != "tcp" or parts.hostname is None or parts.port is None:
            return Check(name, Mark.WARN, f"{endpoint}: not a TCP address, not tried")
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (OSError, ValueError) as error:
        return Check(name, Mark.FAIL, f"{endpoint}: {str(error) or type(error).__name__}", f"open the port, or {advice}")
    writer.close()
    return Check(name, Mark.OK, endpoint)


async def _replay(source: EventSourceInfo, events: EventSource) -> Check:
    if source.replay_endpoint is None:
        return Check("replay", Mark.FAIL, "no endpoint: a lost event cannot be made good", REPLAY_FLAG)
    try:
        batches = await events.replay(0)
    except (ReplayUnavailable, ValueError) as error:
        return Check("replay", Mark.FAIL, f"{source.replay_endpoint}: {error}", f"open the port, or {REPLAY_FLAG}")
    return Check("replay", Mark.OK, f"{source.replay_endpoint}, {len(batches)} batches kept")


async def _hear(events: EventSource, stamp: str) -> None:
    """Wait for a stored block that carries our stamp."""
    while True:
        for batch in await events.receive():
            stored = [event for event in batch.events if isinstance(event, BlocksStored)]
            if any(event.call_id == stamp for event in stored):
                return


async def _stamped(heard: asyncio.Task[None]) -> Check:
    try:
        async with asyncio.timeout(EVENT_TIMEOUT_S):
            await heard
    except TimeoutError:
        return Check(
            STAMPED, Mark.WARN, "none heard: prompts cannot be taught, hits are predicted", "vLLM 0.32 or later stamps"
        )
    except (FeedLost, ValueError) as error:
        return Check(STAMPED, Mark.FAIL, str(error), "see the engine's log")
    return Check(STAMPED, Mark.OK, "the engine stamps events with X-Session-ID")


async def _usage(replica: Replica, facts: ReplicaFacts, http: httpx.AsyncClient, stamp: str) -> Check:
    """Send one call and look at the usage that it reports."""
    name = "prompt_tokens_details"
    words = " ".join(secrets.token_hex(2) for _ in range(PROBE_WORDS))
    body = {"model": facts.models[0] if facts.models else "", "prompt": words, "max_tokens": 1}
    try:
        answer = await http.post(f"{replica.url.rstrip('/')}/v1/completions", json=body, headers={"x-session-id": stamp})
        usage = msgspec.json.decode(answer.raise_for_status().content, type=_Answer).usage
    except (httpx.HTTPError, msgspec.DecodeError, ValueError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        return Check(name, Mark.FAIL, f"a call failed: {why}", "see the engine's log")
    if usage is None or usage.prompt_tokens_details is None:
        return Check(name, Mark.FAIL, "usage does not tell cached tokens", DETAILS_FLAG)
    return Check(name, Mark.OK, f"{usage.prompt_tokens} prompt tokens, cached tokens are told")


def _table(replica: Replica, checks: list[Check]) -> Table:
    colours = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "red"}
    table = Table(title=Text(f"{replica.name}  {replica.url}"), title_justify="left", title_style="bold", expand=False)
    table.add_column("check")
    table.add_column("")
    table.add_column("found", overflow="fold")
    table.add_column("what to change", overflow="fold")
    for check in checks:
        # As text: what a replica says may look like markup.
        table.add_row(check.name, Text(check.mark, colours[check.mark]), Text(check.found), Text(check.advice))
    return table
