"""The spans that a program's end makes: the root of its trace, and the time in which its client did something else; pure.

They are functions of its calls and of its account, which is made here from the same calls (docs/programs.md).
"""

from __future__ import annotations

from turnwise import span_names as names
from turnwise.proxy.export.otlp import wire
from turnwise.proxy.export.otlp.call_spans import WallClock, identity, run_span
from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.ledger import Ledger, account
from turnwise.proxy.programs.spans import Part, span_id, tool_span
from turnwise.proxy.programs.values import Ended, Key
from turnwise.settings import ProgramSettings
from turnwise.span_names import Attribute
from turnwise.types import CallId

MIN_GAP_S = 0.1
"""Shortest stretch of the critical path in which nothing ran that has a span: below it, a client merely turns around."""

GAPS_APART = 256
"""Between the numbers of a call's gaps: far from those of its attempts."""

_WORKFLOW_NAME = wire.text(names.WORKFLOW_NAME)
_OPERATION = wire.word(names.OPERATION)(names.WORKFLOW)
_BASIS = wire.word(names.BASIS)
_OUTCOME = wire.word(names.OUTCOME)
_EPOCH = wire.integer(names.EPOCH)
_MAKESPAN = wire.number(names.MAKESPAN)
_FTR = wire.number(names.FTR)
_CALLS = wire.integer(names.CALLS)
_TOOLS = wire.integer(names.TOOLS)
_FORKS = wire.integer(names.FORKS)
_PROMPT = wire.integer(names.PROMPT_TOTAL)
_CACHED = wire.integer(names.CACHED_TOTAL)
_COMPLETION = wire.integer(names.COMPLETION_TOTAL)
_ENGINE_SECONDS = wire.number(names.ENGINE_SECONDS)
_COST = wire.number(names.PROGRAM_COST)
_CLIENT_GAP = wire.span_name(names.CLIENT_GAP)


def _by_cause(attribute: Attribute) -> dict[Cause, Attribute]:
    return {cause: Attribute(attribute.name.replace("<cause>", cause.value), "number", "root", "") for cause in Cause}


_PATH = {cause: wire.number(attribute) for cause, attribute in _by_cause(names.PATH_SECONDS).items()}
_TOTAL = {cause: wire.number(attribute) for cause, attribute in _by_cause(names.TOTAL_SECONDS).items()}


def program_spans(ended: Ended, settings: ProgramSettings, wall_ns: WallClock) -> list[bytes]:
    """Make the last spans of a program, each a field `spans`; its root is the last of them."""
    ledger = account(
        ended.calls,
        ended.key.started_at,
        settings.final_answer_tools,
        price_per_hour=settings.replica_price_per_hour,
        in_short=True,
    )
    return [*_void_runs(ended, wall_ns), *_gaps(ended.key, ledger, wall_ns), _root(ended, ledger, wall_ns)]


def _void_runs(ended: Ended, wall_ns: WallClock) -> list[bytes]:
    """Runs of tools whose results were given to nobody: no call brings them."""
    return [
        run_span(ended.key, run, tool_span(run.caller, f"{run.id}/{run.waste}"), wall_ns, run.waste) for run in ended.voided
    ]


def _gaps(key: Key, ledger: Ledger, wall_ns: WallClock) -> list[bytes]:
    """Stretches of the critical path that were the client's own; a call may have several, before and after its tools'."""
    found: list[bytes] = []
    counts: dict[str, int] = {}
    for stretch in ledger.path:
        if not stretch.is_gap or stretch.cause is not Cause.CLIENT or stretch.end - stretch.start < MIN_GAP_S:
            continue
        count = counts[stretch.node] = counts.get(stretch.node, -1) + 1
        found.append(
            wire.span(
                wire.place(key.trace_id, key.root_span),
                span_id(CallId(stretch.node), Part.GAP + GAPS_APART * count),
                _CLIENT_GAP,
                wall_ns(stretch.start),
                wall_ns(stretch.end),
                identity(key.id, key.session),
            )
        )
    return found


def _root(ended: Ended, ledger: Ledger, wall_ns: WallClock) -> bytes:
    key, tokens = ended.key, ledger.tokens
    parts = [
        identity(key.id, key.session),
        _OPERATION,
        _BASIS(key.basis.value),
        _OUTCOME(ended.outcome.value),
        _EPOCH(key.epoch),
        _MAKESPAN(ledger.makespan_s),
        _CALLS(ledger.llm_calls),
        _TOOLS(ledger.tool_runs),
        _FORKS(ledger.forks),
        _PROMPT(tokens.prompt),
        _CACHED(tokens.cached),
        _COMPLETION(tokens.completion),
        _ENGINE_SECONDS(ledger.engine_s),
        *(_PATH[cause](seconds) for cause, seconds in ledger.causes.items()),
        *(_TOTAL[cause](seconds) for cause, seconds in ledger.totals.items()),
    ]
    if key.name:
        parts.append(_WORKFLOW_NAME(key.name))
    if ledger.ftr_s is not None:
        parts.append(_FTR(ledger.ftr_s))
    if ledger.cost is not None:
        parts.append(_COST(ledger.cost))
    if key.follows is not None and key.follows_trace is not None:
        # A program is named by the bytes of its root span.
        parts.append(wire.link(key.follows_trace, bytes.fromhex(key.follows), names.FOLLOWS))
    return wire.span(
        wire.place(key.trace_id, key.parent_span, is_remote=key.parent_span is not None),
        key.root_span,
        wire.span_name(names.WORKFLOW, key.name or "program"),
        wall_ns(min(ledger.started_at, key.started_at)),
        wall_ns(max(ended.ended_at, key.started_at)),
        b"".join(parts),
    )
