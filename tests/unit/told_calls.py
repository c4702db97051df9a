"""Records of calls as tests tell them: only the moments that matter, the others follow."""

import msgspec

from turnwise.proxy.programs.values import Basis, Call, Link, LinkKind, Times, ToolRun
from turnwise.turns import ToolCall
from turnwise.types import CallId, DialectName, ReplicaId

STEPS = (0.001, 0.002, 0.003, 0.004)
"""Shares of a call's time after which it is read, admitted, placed and sent."""


def told(name, start, end, *links, agent=0, tools=(), runs=(), is_final=False, **changes):
    """A streamed call from `start` to `end`: its first token comes after half of it, its last byte after nine tenths.

    `links` are `(kind, name)`; `tools` are names of tools that it calls; `changes` replace fields of the record, or of its
    times by their names.
    """
    length = end - start
    read, admitted, placed, sent = (start + share * length for share in STEPS)
    middle, last = start + length / 2, start + 0.9 * length
    times = Times(start, read, admitted, placed, sent, middle, middle, middle, last, end)
    moments = {key: changes.pop(key) for key in Times.__struct_fields__ if key in changes}
    call = Call(
        call_id=CallId(name),
        request_id=f"req-{name}",
        agent=agent,
        turn=0,
        basis=Basis.LINEAGE,
        links=tuple(Link(LinkKind(kind), CallId(other)) for kind, other in links),
        times=msgspec.structs.replace(times, **moments),
        dialect=DialectName.CHAT,
        model="m",
        replica=ReplicaId("r0"),
        status=200,
        reason="",
        is_stream=True,
        attempt=0,
        attempts=(),
        finish_reason="stop",
        response_id=None,
        prompt_tokens=100,
        cached_tokens=64,
        predicted_tokens=80,
        completion_tokens=10,
        max_tokens=None,
        tools=tuple(ToolCall(f"{name}-{number}", tool) for number, tool in enumerate(tools)),
        runs=tuple(runs),
        is_final=is_final,
    )
    return msgspec.structs.replace(call, **changes)


def ran(caller, start, end, *, number=0, name="bash", **fields):
    """A tool run of the call named `caller`; nobody measured it unless `is_inferred=False`."""
    return ToolRun(f"{caller}-{number}", name, CallId(caller), start, end, **fields)
