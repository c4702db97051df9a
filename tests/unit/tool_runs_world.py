"""A gateway's runs between fakes, on virtual time: upstreams whose answers are told in advance, and everything that is told."""

import asyncio
import json
from collections import defaultdict

import msgspec
from tests.unit.tool_rooms import Audit, Forecaster, Guard, Meter

from turnwise.tools_gateway.messages import Announced, Filled, Settled, Step, Void, Voided
from turnwise.tools_gateway.ports import AgentCall
from turnwise.tools_gateway.runs import ToolRuns
from turnwise.tools_gateway.settings import Auth, Limits, Settings, TenantSettings, UpstreamSettings
from turnwise.tools_gateway.values import (
    Caller,
    Credential,
    Marks,
    Principal,
    Tool,
    ToolFault,
    ToolKey,
    ToolState,
    UpstreamName,
)

READ = Marks(is_read_only=True, is_idempotent=True, is_open_world=False, deadline_s=10.0)
EARLY = msgspec.structs.replace(READ, is_early=True)
SHARED = msgspec.structs.replace(READ, is_shared=True)
MEMORY = msgspec.structs.replace(READ, ttl_s=60.0)
WRITE = Marks(deadline_s=10.0)
SCHEMA = {"type": "object", "properties": {"n": {}, "s": {"type": "number"}}}


def tool(name, marks, *, upstream="up", state=ToolState.READY, schema=SCHEMA, why=""):
    """Public name and name upstream are one."""
    key = ToolKey(UpstreamName(upstream), name)
    return Tool(name, key, {"name": name, "inputSchema": schema}, "pin", marks, state, why)


class Registry:
    """Tools that everybody has; credentials of each tenant's own."""

    def __init__(self, tools, shared=()):
        self.known = {each.name: each for each in tools}
        self.shared = shared

    def resolve(self, name, principal):
        return self.known.get(name.removeprefix("mcp__turnwise__"))

    def tools(self, principal):
        return list(self.known.values())

    def credential(self, upstream, principal):
        return Credential(upstream, upstream if upstream in self.shared else f"{upstream}/{principal.tenant}")


class Ask:
    """One request as an upstream sees it."""

    def __init__(self, credential, request, notify, answer, at):
        self.credential = credential
        self.tool = request.params["name"]
        self.arguments = request.params["arguments"]
        self.request = request
        self.notify = notify
        self.answer = answer
        self.at = at
        self.ended_at = None
        self.fate = "running"


class Upstreams:
    """Answers after `arguments["s"]` seconds, with what `answers` has for the tool, or with a count of its requests."""

    def __init__(self):
        self.asked = []
        self.prepared = []
        self.answers = {}
        """By tool: results, faults, or functions of the request, each used once; the last one again and again."""

    def prepare(self, credential):
        self.prepared.append(credential)

    async def ask(self, credential, request, notify=None, answer=None):
        loop = asyncio.get_running_loop()
        ask = Ask(credential, request, notify, answer, loop.time())
        self.asked.append(ask)
        number = len(self.asked)
        answers = self.answers.get(ask.tool, [])
        given = answers.pop(0) if len(answers) > 1 else next(iter(answers), None)
        try:
            if isinstance(given, ToolFault):
                raise given
            await asyncio.sleep(ask.arguments.get("s", 1.0))
            result = await given(ask) if callable(given) else given
        except asyncio.CancelledError:
            ask.fate = "cancelled"
            raise
        except ToolFault:
            ask.fate = "fault"
            raise
        else:
            ask.fate = "answered"
            return result or {"content": [{"type": "text", "text": str(number)}]}
        finally:
            ask.ended_at = loop.time()


class World:
    """Runs with everything fake around them: `async with World([...]) as world`."""

    def __init__(self, tools, *, tenants=(), shared=(), max_running=16, auth=None, **limits):
        limits = {"max_run_s": 100.0, "claim_ttl_s": 30.0} | limits
        upstreams = {each.key.upstream for each in tools}
        self.settings = Settings(
            upstreams=tuple(UpstreamSettings(name=name, max_running=max_running) for name in sorted(upstreams)),
            tenants=tuple(TenantSettings(name=name, proxy_tenants=(f"proxy-{name}",)) for name in tenants),
            limits=Limits(**limits),
            auth=auth or Auth(),
        )
        self.registry = Registry(tools, shared)
        self.upstreams = Upstreams()
        self.forecaster = Forecaster()
        self.guard = Guard()
        self.audit = Audit()
        self.meter = Meter()
        self.told = defaultdict(list)
        self.sources = {}
        self.source = "proxy"

    async def __aenter__(self):
        self.loop = asyncio.get_running_loop()
        self.runs = ToolRuns(
            self.settings,
            upstreams=self.upstreams,
            registry=self.registry,
            forecaster=self.forecaster,
            guard=self.guard,
            audit=self.audit,
            meter=self.meter,
            clock=self.loop.time,
            listener=self,
        )
        self._sweeping = asyncio.create_task(self.runs.keep_swept())
        return self

    async def __aexit__(self, *_):
        self._sweeping.cancel()
        await self.runs.aclose()
        assert self.runs.loads() == {}
        assert not self.runs._budget._running
        assert not self.runs._budget._held
        self.audit.check_balance()

    def tool_told(self, source, told):
        self.told[told.turn, told.index].append(told)

    def steps(self, turn="t", index=0):
        return [told.step for told in self.told[turn, index]]

    def last(self, turn="t", index=0):
        return self.told[turn, index][-1]

    def announce(self, name, turn="t", index=0, *, tenant="", source=None, **fields):
        at = fields.pop("at", self.loop.time())
        told = Announced(turn, index, name, fields.pop("id", f"call_{index}"), at, tenant, **fields)
        self.runs.announced(source or self.source, told)

    def fill(self, arguments, turn="t", index=0, *, source=None):
        raw = arguments if isinstance(arguments, bytes) else json.dumps(arguments).encode()
        self.runs.filled(source or self.source, Filled(turn, index, msgspec.Raw(raw), self.loop.time()))

    def write(self, name, arguments, turn="t", index=0, **fields):
        """A model writes a whole tool call."""
        self.announce(name, turn, index, **fields)
        self.fill(arguments, turn, index)

    def settle(self, turn="t", why=None, *, source=None):
        self.runs.settled(source or self.source, Settled(turn, self.loop.time(), why))

    def void(self, turn="t", index=0, why=Void.DRIFT):
        self.runs.voided(self.source, Voided(turn, index, why, self.loop.time()))

    async def call(self, name, arguments=None, *, tenant="", meta=None, notify=None, answer=None, caller=None):
        arguments = {} if arguments is None else arguments
        return await self.runs.call(
            AgentCall(Principal(tenant), name, arguments, meta or {}, notify, answer, caller or Caller())
        )

    def asking(self, *args, **kwargs):
        """A call as a task, which has asked already."""
        return asyncio.create_task(self.call(*args, **kwargs))

    async def fault(self, *args, **kwargs):
        try:
            await self.call(*args, **kwargs)
        except ToolFault as fault:
            return fault
        raise AssertionError("the call has a result")


def text(result):
    return result["content"][0]["text"]


VOID = Step.VOID
