"""All that the admin port tells of one program, made when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from turnwise.events import ToolHow, ToolStep
from turnwise.index import KvIndex
from turnwise.proxy.programs.causes import Stretch
from turnwise.proxy.programs.graph import Block, Graph, Line, blocks, lines
from turnwise.proxy.programs.graph.prompts import prompt_of
from turnwise.proxy.programs.ledger import Ledger, account
from turnwise.proxy.programs.outline import OutlineRow, outlined
from turnwise.proxy.programs.pauses import Left, Source
from turnwise.proxy.programs.values import Attempt, Call, Key, Running, Summary, Times, ToolRun, Waiting
from turnwise.proxy.programs.waterfall import waterfall
from turnwise.settings import Settings
from turnwise.types import Hit, HitSource, ProgramId, ReplicaId

OF_MOMENTS = (Times, Attempt, ToolRun)
"""Values of which every number with a fraction is a moment, unless its name says seconds, and nothing within is a value of its
own."""


PLAIN = frozenset((str, int, float, bool, type(None)))
"""Types of values that are JSON as they are: most are, and a look is cheaper than a call."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """How much of a prompt one replica is believed to hold."""

    tokens: int
    source: HitSource


class HeldPrompt(msgspec.Struct, frozen=True, gc=False):
    """How much of the prompt from which a conversation goes on each replica holds."""

    agent: int
    prompt_tokens: int
    replicas: Mapping[ReplicaId, Held]


class GraphPage(msgspec.Struct, frozen=True, gc=False):
    """What the prompts of a program consist of; who holds them was looked up in the index as this was made."""

    blocks: tuple[Block, ...] = ()
    lines: tuple[Line, ...] = ()
    held: tuple[HeldPrompt, ...] = ()


class ToolWait(msgspec.Struct, frozen=True, gc=False):
    """A tool call whose result has not come; moments are seconds since the program began."""

    tool_call_id: str
    tool: str
    agent: int
    since: float
    """When its answer had ended; where that is still written, when the gateway was told of it."""
    step: ToolStep | None
    """How far its run has come, where the tools gateway tells."""
    how: ToolHow | None
    remaining_s: float | None
    """How long it is expected to take yet; None where nothing is known."""
    source: Source | None
    """Who says so."""
    claimed_at: float | None = None
    """When the agent asked the tools gateway for it, where that tells."""


class ProgramPage(msgspec.Struct, frozen=True, gc=False):
    """One program: its row of the list, where its time went, its timeline, its prompts, and its finished calls.

    All moments in it are seconds since `program.started_at`, which is Unix time.
    """

    program: Summary
    follows: ProgramId | None
    """The program of the same session before it."""
    ledger: Ledger
    rows: tuple[OutlineRow, ...]
    graph: GraphPage
    calls: list[dict[str, Any]]
    """Each `Call` as an object."""
    waiting: tuple[ToolWait, ...] = ()
    """Tool calls whose results have not come."""


def program_page(
    summary: Summary,
    key: Key,
    calls: Sequence[Call],
    graph: GraphPage,
    settings: Settings,
    now: float,
    wall: float,
    running: Sequence[Running] = (),
    waits: Sequence[tuple[Waiting, Left | None]] = (),
    voided: Sequence[ToolRun] = (),
) -> ProgramPage:
    """Make it of the finished calls of a program, in the order of their ends.

    While calls run or tools are out, the account goes up to `now`; a quiet program may have given its answer. `wall` is the
    Unix time at `now`, `running` are the calls that have not ended, `waits` the tool calls, and `voided` the runs of tools
    whose results were given to nobody.
    """
    ledger = account(
        calls,
        key.started_at,
        settings.programs.final_answer_tools,
        now if summary.running or summary.waiting else None,
        is_running=summary.running > 0,
        price_per_hour=settings.programs.replica_price_per_hour,
    )
    start = ledger.started_at
    return ProgramPage(
        replace(summary, started_at=wall - (now - start), remaining_s=remaining_s(waits)),
        key.follows,
        replace(ledger, started_at=0.0, path=tuple([_since(start, stretch) for stretch in ledger.path])),
        outlined(waterfall(calls, ledger, running, now, voided)),
        graph,
        [_object(call, start) for call in calls],
        tuple(_wait(waiting, left, start) for waiting, left in waits),
    )


def remaining_s(waits: Sequence[tuple[Waiting, Left | None]]) -> float | None:
    """How long the last of these tool calls is expected to take yet; None where that is known of none."""
    return max((left.seconds for _, left in waits if left is not None), default=None)


def _wait(waiting: Waiting, left: Left | None, start: float) -> ToolWait:
    told = waiting.told
    return ToolWait(
        waiting.tool_call_id,
        waiting.tool,
        waiting.agent,
        waiting.since - start,
        None if told is None else told.step,
        None if told is None else told.how,
        None if left is None else left.seconds,
        None if left is None else left.source,
        None if told is None or told.claimed_at is None else told.claimed_at - start,
    )


def graph_page(
    graph: Graph, calls: Sequence[Call], index: KvIndex, replicas: Sequence[ReplicaId], bytes_per_token: float, now: float
) -> GraphPage:
    """Make the part about prompts, and ask `index` which of `replicas` hold them now."""
    held = []
    for agent in range(len(graph.lines)):
        chain = prompt_of(graph, agent, bytes_per_token)
        if chain is not None:
            residency = index.residency(chain, replicas, now)
            held.append(HeldPrompt(agent, residency.prompt_tokens, {name: _held(hit) for name, hit in residency.hits.items()}))
    return GraphPage(blocks(graph, calls), lines(graph), tuple(held))


def _held(hit: Hit) -> Held:
    return Held(hit.tokens, hit.source)


def _since(start: float, stretch: Stretch) -> Stretch:
    return Stretch(
        stretch.node,
        stretch.cause,
        stretch.start - start,
        stretch.end - start,
        stretch.detail,
        stretch.is_gap,
        stretch.is_inferred,
    )


def _object(value: Any, start: float) -> Any:
    """A value with objects for structs, which would be arrays, hex for bytes, and moments as seconds since `start`."""
    if isinstance(value, msgspec.Struct):
        if isinstance(value, OF_MOMENTS):
            return {
                name: known - start if isinstance(known := getattr(value, name), float) and not name.endswith("_s") else known
                for name in value.__struct_fields__
            }
        return {
            name: known if type(known := getattr(value, name)) in PLAIN else _object(known, start)
            for name in value.__struct_fields__
        }
    if isinstance(value, (list, tuple)):
        return [_object(item, start) for item in value]
    return value.hex() if isinstance(value, bytes) else value
