"""Calls for the linter, and what engines teach of them."""

import json

from turnwise.dialects import match
from turnwise.index import Lesson
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits

READER = Reader(Edits(include_usage=False))
SYSTEM = {"role": "system", "content": "You are a careful agent in a large repository. Keep answers short. Time: 12:00"}
LATER_SYSTEM = {**SYSTEM, "content": SYSTEM["content"].replace("12:00", "12:01")}
TITLE = {"role": "system", "content": "Write a title of five words for this conversation."}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("ls", "cat", "rm")]


def user(text):
    return {"role": "user", "content": text}


def step(number, result="a.py b.py", **fields):
    call = {"id": f"call_{number:024}", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": "I look at the files first.", "tool_calls": [call], **fields},
        {"role": "tool", "tool_call_id": call["id"], "content": result},
    ]


def call(*messages, session=None, path="/v1/chat/completions", **fields):
    """A request as the proxy reads it."""
    body = {"model": "m", "messages": list(messages), **fields}
    if path == "/v1/responses":
        body["input"] = body.pop("messages")
    headers = {} if session is None else {b"x-session-id": session.encode()}
    raw = RawRequest("POST", path, tuple(headers.items()), json.dumps(body).encode(), 0.0, 0.0, headers)
    return READER.read(raw, match("POST", path), "r")


def steps_of(linter, *calls):
    return [linter.follow(one, now=0.0).step for one in calls]


PENDING = Lesson(is_pending=True)


def lesson(segment, tokens=64):
    return Lesson(is_taught=True, is_contradiction=True, broke_at=segment, lost_tokens=tokens)
