"""Answers of `/v1/messages`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from turnwise.engines.sim.answers import CallHead, Counts, Json, named_event
from turnwise.engines.sim.script import Piece, Script

_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "stop": "end_turn"}


class MessagesWriter:
    """Writes Anthropic's answers: a list of content blocks, of which one at a time is open in a stream."""

    def __init__(self, head: CallHead) -> None:
        self._head = head
        self._num_prompt = 0
        self._has_started = False
        self._index = -1
        self._open = ""
        """Type of the open block; empty where none is."""
        self._ended: Script | None = None

    def begin(self, num_prompt: int) -> Iterator[bytes]:
        """Nothing: the message starts with its first token."""
        self._num_prompt = num_prompt
        yield from ()

    def say(self, choice: int, piece: Piece, ended: Script | None) -> Iterator[bytes]:
        """The events of one token."""
        del choice
        if not self._has_started:
            self._has_started = True
            # At this point vLLM counts the whole prompt as input; what was cached is told at the end.
            usage = {"input_tokens": self._num_prompt, "output_tokens": 0}
            yield named_event({"type": "message_start", "message": self._message([], None, usage)})
        if piece.name:
            yield from self._begin_block(self._tool_use(piece.call or 0, piece.name, {}))
        if piece.arguments:
            yield self._delta({"type": "input_json_delta", "partial_json": piece.arguments})
        elif piece.reasoning:
            if self._open != "thinking":
                yield from self._begin_block({"type": "thinking", "thinking": ""})
            yield self._delta({"type": "thinking_delta", "thinking": piece.reasoning})
        elif piece.text:
            if self._open != "text":
                yield from self._begin_block({"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": piece.text})
        if ended is not None:
            self._ended = ended
            yield from self._end_block()

    def end(self, counts: Counts) -> Iterator[bytes]:
        """Why it stopped, what it used, and the end mark."""
        yield named_event({"type": "message_delta", "delta": _stop(self._ended), "usage": _usage(counts)})
        yield named_event({"type": "message_stop"})

    def whole(self, scripts: Sequence[Script], counts: Counts) -> bytes:
        """The message in one answer; a tool call that was cut short is left out."""
        (script,) = scripts
        content: list[Json] = []
        if script.reasoning:
            content.append({"type": "thinking", "thinking": script.reasoning, "signature": self._head.unique})
        if script.text:
            content.append({"type": "text", "text": script.text})
        for call in script.calls:
            try:
                content.append(self._tool_use(call.index, call.name, msgspec.json.decode(call.arguments)))
            except msgspec.DecodeError:
                break
        return msgspec.json.encode(self._message(content or [{"type": "text", "text": ""}], script, _usage(counts)))

    def _message(self, content: list[Json], ended: Script | None, usage: Json) -> Json:
        return {
            "id": f"msg_{self._head.unique}",
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._head.model,
            **_stop(ended),
            "usage": usage,
        }

    def _tool_use(self, index: int, name: str, arguments: Json) -> Json:
        return {"type": "tool_use", "id": self._head.tool_call_id(0, index), "name": name, "input": arguments}

    def _begin_block(self, block: Json) -> Iterator[bytes]:
        yield from self._end_block()
        self._index += 1
        self._open = block["type"]
        yield named_event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _end_block(self) -> Iterator[bytes]:
        if self._open == "thinking":
            yield self._delta({"type": "signature_delta", "signature": self._head.unique})
        if self._open:
            self._open = ""
            yield named_event({"type": "content_block_stop", "index": self._index})

    def _delta(self, delta: Json) -> bytes:
        return named_event({"type": "content_block_delta", "index": self._index, "delta": delta})


def _stop(ended: Script | None) -> Json:
    if ended is None:
        return {"stop_reason": None, "stop_sequence": None}
    reason = "stop_sequence" if ended.stop is not None else _STOP_REASONS[ended.finish_reason]
    return {"stop_reason": reason, "stop_sequence": ended.stop}


def _usage(counts: Counts) -> Json:
    """Anthropic's count of input leaves out what was read from the cache and what was written to it."""
    usage: Json = {"input_tokens": counts.prompt, "output_tokens": counts.completion}
    if counts.cached is not None and counts.created is not None:
        usage["input_tokens"] -= counts.cached + counts.created
        usage["cache_read_input_tokens"] = counts.cached
        usage["cache_creation_input_tokens"] = counts.created
    return usage
