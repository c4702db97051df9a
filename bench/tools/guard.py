"""What trust costs a call: arguments, result and audit of an echo of 1 KB, and the worst check that a schema can ask for."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence

from bench.knowledge.row import Row, at_most
from bench.tools import Options

from turnwise.tools_gateway.registry import ToolRegistry
from turnwise.tools_gateway.settings import Settings, Trust, UpstreamSettings
from turnwise.tools_gateway.trust import PinnedGuard, ToolAudit
from turnwise.tools_gateway.values import Credential, Fate, JsonObject, Principal, Tool, ToolFault, UpstreamName

ROUNDS, CALLS = 9, 2000
MOST_US, MOST_WORST_S = 30.0, 4.0
ME = Principal("")
ECHO: JsonObject = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "times": {"type": "integer", "minimum": 1}},
    "required": ["text"],
    "additionalProperties": False,
}
INTRICATE: JsonObject = {"type": "object", "properties": {"a": {"items": {"enum": [{"k": number} for number in range(900)]}}}}
"""Every item is compared with 900 objects; nothing slower for its cost was found."""


def rows(options: Options) -> Sequence[Row]:
    """All rows; nothing is drawn from the seed."""
    del options
    with tempfile.TemporaryDirectory() as folder:
        return _measured(folder)


def _measured(folder: str) -> Sequence[Row]:
    settings = Settings(
        upstreams=(UpstreamSettings(name="bench", command=("/bin/bench",), trusted=True),), trust=Trust(state_dir=folder)
    )
    guard, audit = PinnedGuard(settings), ToolAudit(settings.trust)
    echo, intricate = _tool(settings, ECHO), _tool(settings, INTRICATE)
    arguments: JsonObject = {"text": "hello world, " * 75, "times": 3}
    raw = json.dumps(arguments).encode()
    result: JsonObject = {"content": [{"type": "text", "text": arguments["text"]}], "isError": False}
    checked = {
        "arguments_us": _us(lambda: guard.arguments(echo, raw)),
        "parsed_arguments_us": _us(lambda: guard.check(echo, arguments)),
        "result_us": _us(lambda: guard.result(echo, result)),
    }
    written = {
        "before_us": _us(lambda: audit.decided(echo, ME, arguments, how="asked")),
        "after_us": _us(lambda: audit.ended("1", Fate.SUCCESS, None, 0.1, result)),
    }
    audit.close()
    worst = _worst(guard, intricate)
    return (
        at_most(
            "guard",
            "Arguments and result of an echo of 1 KB, checked and cleaned",
            checked["arguments_us"] + checked["result_us"],
            MOST_US,
            "us of CPU",
            checked,
            "Strict reading, schema, search for secrets; bounds, hidden characters, secrets, mark. Least of nine rounds.",
        ),
        at_most(
            "audit",
            "One record of the audit, without fsync",
            max(written.values()),
            MOST_US,
            "us of CPU",
            written,
            "Redacted arguments, two hashes and one write before the call; the result's hash and one write after it.",
        ),
        at_most(
            "intricate",
            "Largest arguments that are checked by the worst schema known",
            worst,
            MOST_WORST_S,
            "s of CPU",
            {"check_s": worst},
            "A list as long as the bound on work lets pass, each item of which is compared with 900 objects.",
        ),
    )


def _tool(settings: Settings, schema: JsonObject) -> Tool:
    name = UpstreamName("bench")
    registry = ToolRegistry(settings, Credential)
    registry.learn(name, [{"name": "echo", "inputSchema": schema}])
    return registry.tools(ME)[0]


def _us(call: Callable[[], object]) -> float:
    """CPU time of a call: the least of some rounds."""
    least = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(CALLS):
            call()
        least = min(least, (time.process_time() - begin) / CALLS)
    return least * 1e6


def _worst(guard: PinnedGuard, tool: Tool) -> float:
    """CPU time of the largest arguments that are taken, in seconds."""
    number = 1 << 17
    while True:
        arguments: JsonObject = {"a": [{"k": 899}] * number}
        begin = time.process_time()
        try:
            guard.check(tool, arguments)
        except ToolFault:
            number = number * 3 // 4
            continue
        return time.process_time() - begin
