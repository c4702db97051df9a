"""Answers with tool calls as bytes, in each API; and an ear that keeps what the gateway would be told of them."""

import json
from types import MappingProxyType

import msgspec

from turnwise.dialects import DIALECTS, match
from turnwise.events import ReplicaFacts
from turnwise.proxy.dispatch import Dispatch
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits
from turnwise.tools_gateway.messages import Announced, Filled, Settled, Voided

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
DONE = b"data: [DONE]\n\n"
FACTS = ReplicaFacts(("m", "adapter"), engine="vllm", version="0.32.0")


def event(payload, **how):
    return b"data: " + json.dumps(payload, **how).encode() + b"\n\n"


def chunk(*calls, finish=None, choice=0, usage=None, delta=None, **more):
    """One chunk of chat; each call is what stands in `tool_calls`."""
    said = {**({"tool_calls": list(calls)} if calls else {}), **(delta or {})}
    choices = [{"index": choice, "delta": said, "finish_reason": finish, **more}]
    return event({"id": "c", "choices": choices, **({"usage": usage} if usage else {})})


def piece(arguments=None, *, name=None, index=0, call_id=None):
    """One element of `tool_calls` in a chunk."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    given = {"index": index, "function": function}
    return given if call_id is None else {**given, "id": call_id, "type": "function"}


def block(kind, index=0, **fields):
    """One event of messages about a block."""
    return b"event: content_block_%b\n" % kind.encode() + event({"type": f"content_block_{kind}", "index": index, **fields})


def tool_use(name, index=0, call_id="toolu_1", given=None):
    return block("start", index, content_block={"type": "tool_use", "id": call_id, "name": name, "input": given or {}})


def input_delta(text, index=0):
    return block("delta", index, delta={"type": "input_json_delta", "partial_json": text})


def message_end(reason, tokens=5):
    return event(
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"input_tokens": 9, "output_tokens": tokens}}
    )


MESSAGE_STOP = event({"type": "message_stop"})


def item(kind, name="f", index=0, call_id="call_1", arguments="", **fields):
    """`output_item.added` or `.done` of a function call."""
    given = {"type": "function_call", "id": f"fc_{index}", "call_id": call_id, "name": name, "arguments": arguments, **fields}
    return event({"type": f"response.output_item.{kind}", "output_index": index, "item": given})


def arguments_event(kind, text, index=0):
    member = "delta" if kind == "delta" else "arguments"
    payload = {
        "type": f"response.function_call_arguments.{kind}",
        "output_index": index,
        "item_id": f"fc_{index}",
        member: text,
    }
    return event(payload)


def response_end(status="completed", tokens=5, reason=None, output=()):
    response = {
        "id": "r", "status": status, "output": list(output), "usage": {"input_tokens": 9, "output_tokens": tokens},
        "incomplete_details": None if reason is None else {"reason": reason},
    }  # fmt: skip
    return event({"type": f"response.{status}", "response": response})


class Ear:
    """Somebody who listens, and keeps what is told."""

    def __init__(self, *, is_listening=True):
        self.is_listening = is_listening
        self.told = []

    def tell(self, message):
        self.told.append(message)

    def of(self, kind):
        return [message for message in self.told if type(message) is kind]

    @property
    def announced(self):
        return [(message.index, message.tool, message.id) for message in self.of(Announced)]

    @property
    def filled(self):
        return [(message.index, bytes(message.arguments).decode()) for message in self.of(Filled)]

    @property
    def voided(self):
        return [(message.index, message.why.value) for message in self.of(Voided)]

    @property
    def end(self):
        """How the only turn ended: `clean`, or why it is void."""
        (settled,) = self.of(Settled)
        return "clean" if settled.why is None else settled.why.value


class Carried(msgspec.Struct):
    is_complete: bool = True
    is_client_gone: bool = False


def tools(path, *names, parameters=MappingProxyType({"type": "object"})):
    """A catalogue of tools as a body has it."""
    parameters = dict(parameters)
    if path == MESSAGES:
        return [{"name": name, "input_schema": parameters} for name in names]
    if path == RESPONSES:
        return [{"type": "function", "name": name, "parameters": parameters} for name in names]
    return [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in names]


def body(path, *names, **fields):
    """A body that offers these tools."""
    question = [{"role": "user", "content": "do it"}]
    member = {"input": question, "store": False} if path == RESPONSES else {"messages": question}
    return {"model": "m", "stream": True, **member, "tools": tools(path, *(names or ("f", "g", "h"))), **fields}


def request(path, given=None):
    encoded = msgspec.json.encode(body(path) if given is None else given)
    raw = RawRequest(method="POST", target=path, headers=(), body=encoded, arrived_at=0.0, read_at=0.0, fields={})
    return Reader(Edits()).read(raw, match("POST", path), "request-1")


def hear(path, *reads, ear=None, dispatch=None, given=None, carried=Carried(), is_stream=True, status=200, turn=None):  # noqa: B008 - never written
    """Let an answer pass; gives the ear, which has heard all of it."""
    ear = ear or Ear()
    dispatch = dispatch or Dispatch(ear, lambda _: None)
    asked = request(path, given)
    tap = DIALECTS[asked.dialect].tap()
    watch = dispatch.watch(asked, turn, FACTS, tap, tap)
    assert watch is not None
    watch.on_head(status, is_stream=is_stream)
    for now, data in enumerate(reads):
        watch.feed(data, float(now))
    if carried is not None and carried.is_complete:
        watch.close(float(len(reads)))
    watch.settle(carried, 100.0)
    return ear
