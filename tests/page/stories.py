"""Programs as the admin port tells of them, made by hand: a fork and join with a failed attempt, live ones, a hostile name."""

import msgspec

from turnwise.proxy.programs import spans
from turnwise.proxy.programs.values import (
    Attempt,
    Basis,
    Call,
    EngineTimes,
    Key,
    Link,
    LinkKind,
    Outcome,
    Summary,
    Times,
    ToolRun,
)
from turnwise.turns import ToolCall
from turnwise.types import CallId, DialectName, ProgramId, ReplicaId

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
NOW = 1_010.0


class Story:
    """Calls of one program that began at `began`; times are told since then."""

    def __init__(self, began):
        self.began = began
        self.calls = []

    def call(
        self, name, start, prefill, decode, *links, agent=(0, ""), tools=(), runs=(), at="gpu-a", prompt=(9_000, 0.8), **changes
    ):
        """A streamed call: its first token after `prefill` seconds, its end `decode` later."""
        begin = self.began + start
        sent = begin + 0.006
        token = sent + prefill
        last = token + decode
        number, agent_name = agent
        cached = round(prompt[0] * prompt[1])
        made = Call(
            call_id=CallId(name),
            request_id=f"req-{name}",
            agent=number,
            turn=sum(call.agent == number for call in self.calls),
            basis=Basis.LINEAGE,
            links=tuple(Link(LinkKind(kind), CallId(other)) for kind, other in links),
            times=Times(
                begin, begin + 0.002, begin + 0.003, begin + 0.004, sent, sent + 0.01, token, token, last, last + 0.002
            ),
            dialect=DialectName.CHAT,
            model="qwen3-coder-30b",
            replica=ReplicaId(at),
            status=200,
            reason="",
            is_stream=True,
            attempt=0,
            attempts=(),
            finish_reason="tool_calls" if tools else "stop",
            response_id=None,
            prompt_tokens=prompt[0],
            cached_tokens=cached,
            predicted_tokens=cached,
            completion_tokens=round(decode * 90),
            max_tokens=None,
            tools=tuple(ToolCall(f"{name}-{number}", tool) for number, tool in enumerate(tools)),
            runs=tuple(self.ran(*run) for run in runs),
            is_final=not tools,
            agent_name=agent_name,
        )
        self.calls.append(msgspec.structs.replace(made, **changes))

    def ran(self, caller, number, name, start, end, fields=()):
        """A tool run, of the `number`th tool call of `caller`."""
        return ToolRun(f"{caller}-{number}", name, CallId(caller), self.began + start, self.began + end, **dict(fields))


def fork_and_join(began):
    """A coding agent that plans, reads files, sends out three sub-agents and answers with what they found."""
    story = Story(began)
    first, second, third = (1, "researcher"), (2, "researcher"), (3, "reviewer")
    story.call("plan", 0, 0.62, 0.71, tools=("read_file", "list_dir"), prompt=(11_800, 0.0))
    runs = [("plan", 0, "read_file", 1.345, 1.9), ("plan", 1, "list_dir", 1.345, 1.52)]
    story.call("read", 1.92, 0.12, 0.85, ("continue", "plan"), tools=("task",) * 3, prompt=(14_900, 0.79), runs=runs)
    spawned = ("spawn", "read")
    story.call("s1-a", 2.96, 0.21, 0.40, spawned, agent=first, tools=("grep",), at="gpu-b", prompt=(6_100, 0.61))
    story.call("s2-a", 2.97, 0.34, 0.52, spawned, agent=second, tools=("bash",), prompt=(6_150, 0.61))
    engine = EngineTimes(queued_s=0.09, prefill_s=0.31, decode_s=0.8)
    story.call("s3-a", 2.98, 0.40, 0.8, spawned, agent=third, at="gpu-c", prompt=(7_900, 0.1), engine=engine)
    runs = [("s1-a", 0, "grep", 3.578, 3.72)]
    story.call("s1-b", 3.72, 0.05, 0.5, ("continue", "s1-a"), agent=first, at="gpu-b", prompt=(6_800, 0.92), runs=runs)
    at = [began + seconds for seconds in (5, 5.002, 5.11, 5.112, 5.114, 5.13, 5.33, 5.33, 6.23, 6.235)]
    failed = Attempt(0, ReplicaId("gpu-c"), "connect_failed", at[1], began + 5.105, at[1])
    measured = {"queued_at": began + 3.84, "is_inferred": False}
    runs = [("s2-a", 0, "bash", 3.95, 4.98, measured)]
    retried = {"attempt": 1, "attempts": (failed,), "times": Times(*at)}
    story.call("s2-b", 5.0, 0.2, 0.9, ("continue", "s2-a"), agent=second, prompt=(7_700, 0.78), runs=runs, **retried)
    joins = [("join", name) for name in ("s1-b", "s2-b", "s3-a")]
    runs = [("read", number, "task", 2.9, end, {"is_conversation": True}) for number, end in enumerate((4.3, 6.24, 4.2))]
    story.call("merge", 6.31, 0.18, 0.92, ("continue", "read"), *joins, tools=("write_file",), prompt=(18_200, 0.81), runs=runs)
    runs = [("merge", 0, "write_file", 7.42, 7.69)]
    story.call("answer", 7.7, 0.07, 1.35, ("continue", "merge"), prompt=(19_400, 0.93), runs=runs)
    return tuple(story.calls)


class Told:
    """One program: its key, its row of the list and its calls."""

    def __init__(
        self, name, began, count=9, *, session="", outcome=Outcome.OPEN, running=0, waiting=0, calls=None, tenant="t" * 12
    ):
        self.calls = fork_and_join(began)[:count] if calls is None else calls
        root, trace = spans.program_ids(session, name, int(began))
        basis = Basis.NAMED if name else Basis.LINEAGE
        self.running = ()
        self.waits = ()
        self.voided = ()
        self.key = Key(ProgramId(root.hex()), name, tenant, session, 0, trace, root, None, True, began, basis)
        self.summary = Summary(
            id=self.key.id,
            name=name,
            tenant=self.key.tenant,
            session=session,
            basis=basis,
            outcome=outcome,
            model="qwen3-coder-30b",
            age_s=NOW - began,
            quiet_s=NOW - max((call.times.ended for call in self.calls), default=began),
            running=running,
            waiting=waiting,
            calls=len(self.calls),
            tools=sum(len(call.tools) for call in self.calls),
            agents=len({call.agent for call in self.calls}),
            prompt_tokens=sum(call.prompt_tokens for call in self.calls),
            cached_tokens=sum(call.cached_tokens or 0 for call in self.calls),
            completion_tokens=sum(call.completion_tokens or 0 for call in self.calls),
            trace_id=trace.hex(),
            reported_prompt_tokens=sum(call.prompt_tokens for call in self.calls if call.cached_tokens is not None),
        )


def secrets():
    """Two live programs of one name, of different tenants."""
    return ToldPrograms(Told("secret", 900.0, 1, tenant="a" * 12), Told("secret", 930.0, 1, tenant="b" * 12))


class ToldPrograms:
    """What `Programs` answers of `told`, the most recently used first; `graphs` by the names of programs."""

    def __init__(self, *told, graphs=None):
        self.told = {one.key.id: one for one in told}
        self.graphs = graphs or {}

    def listing(self, now, limit=None, unix_zero=0.0):
        return [
            msgspec.structs.replace(one.summary, started_at=one.key.started_at + unix_zero)
            for one in list(self.told.values())[:limit]
        ]

    def find(self, name, tenant=None):
        keys = [one.key for one in self.told.values() if tenant in (None, one.key.tenant)]
        return tuple(key for key in keys if key.id == name) or tuple(key for key in keys if key.name == name)

    def summary(self, program, now):
        return self.told[program].summary

    def calls(self, program):
        return self.told[program].key, self.told[program].calls

    def running(self, program):
        return self.told[program].running

    def waits(self, program, now):
        return self.told[program].waits

    def void_runs(self, program):
        return self.told[program].voided

    def graph(self, program):
        return self.graphs.get(self.told[program].key.name)

    def end(self, program, now):
        one = self.told[program]
        if one.summary.outcome is not Outcome.OPEN:
            return False
        one.summary = msgspec.structs.replace(one.summary, outcome=Outcome.ASKED)
        return True


def several():
    """A list as a busy proxy has it."""
    return ToldPrograms(
        Told("nightly-review", 1_005.0, 5, session="s-41", running=2),
        Told("fix-flaky-test", 1_002.0, 1, session="s-40", waiting=2),
        Told("migrate-config", 940.0, session="s-39", outcome=Outcome.ANSWERED),
        Told("", 700.0, 2, session="0d6be1a2-77c1-4c9e-9f50-5a1d2b7a8e11"),
        Told("", -4_000.0, 3, outcome=Outcome.AGE),
        Told(HOSTILE, 930.0, 1, outcome=Outcome.ASKED),
    )
