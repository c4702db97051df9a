"""Answers of `/v1/responses`: numbered events, and the response object that they build up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from turnwise.engines.sim.answers import CallHead, Counts, Json, named_event
from turnwise.engines.sim.responses_body import ResponsesBody
from turnwise.engines.sim.script import Piece, Script


class ResponsesWriter:
    """Writes the Responses API's answers; `on_whole` gets the finished response and the script that it says."""

    def __init__(self, head: CallHead, body: ResponsesBody, on_whole: Callable[[Json, Script], None]) -> None:
        self._head = head
        self._body = body
        self._on_whole = on_whole
        self._output: list[Json] = []
        self._open: Json | None = None
        """The item under way; its text or arguments grow."""
        self._num_events = 0
        self._ended: Script | None = None

    def begin(self, num_prompt: int) -> Iterator[bytes]:
        """The response as it stands before its first token."""
        del num_prompt
        response = self._response("in_progress", None)
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def say(self, choice: int, piece: Piece, ended: Script | None) -> Iterator[bytes]:
        """The events of one token."""
        del choice
        if piece.name:
            yield from self._end_item()
            yield from self._begin_call(piece.call or 0, piece.name)
        if piece.arguments and self._open is not None:
            self._open["arguments"] += piece.arguments
            yield self._item_event("response.function_call_arguments.delta", delta=piece.arguments)
        elif piece.reasoning:
            yield from self._go_on("reasoning", piece.reasoning)
            yield self._text_event("response.reasoning_text.delta", delta=piece.reasoning)
        elif piece.text:
            yield from self._go_on("message", piece.text)
            yield self._text_event("response.output_text.delta", delta=piece.text, logprobs=[])
        if ended is not None:
            self._ended = ended
            yield from self._end_item()

    def end(self, counts: Counts) -> Iterator[bytes]:
        """The finished response; vLLM calls an incomplete one completed too, and tells by its status."""
        yield self._event("response.completed", response=self._finish(counts))

    def whole(self, scripts: Sequence[Script], counts: Counts) -> bytes:
        """The response in one answer."""
        (script,) = scripts
        for piece in script.pieces:
            for _event in self.say(0, piece, script if piece is script.pieces[-1] else None):
                pass
        return msgspec.json.encode(self._finish(counts))

    def _finish(self, counts: Counts) -> Json:
        assert self._ended is not None
        status = "incomplete" if self._ended.finish_reason == "length" else "completed"
        response = self._response(status, _usage(counts))
        self._on_whole(response, self._ended)
        return response

    def _response(self, status: str, usage: Json | None) -> Json:
        body = self._body
        return {
            "id": f"resp_{self._head.unique}",
            "object": "response",
            "created_at": self._head.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self._head.model,
            "output": list(self._output),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": body.reasoning,
            "service_tier": "auto",
            "store": body.is_stored,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": body.text,
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or (),
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": usage,
            "user": body.user,
        }

    def _go_on(self, kind: str, text: str) -> Iterator[bytes]:
        """Add `text` to the open item, or to a new one where that is of another kind."""
        if self._open is None or self._open["type"] != kind:
            yield from self._end_item()
            yield from self._begin_text(kind)
        assert self._open is not None
        self._open["content"][0]["text"] += text

    def _begin_text(self, kind: str) -> Iterator[bytes]:
        item: Json = {"id": f"msg_{self._head.unique}_{len(self._output)}", "type": kind, "status": "in_progress"}
        if kind == "reasoning":
            item.update(id=f"rs_{self._head.unique}_{len(self._output)}", summary=[])
            part: Json = {"type": "reasoning_text", "text": ""}
            yield self._event("response.output_item.added", output_index=len(self._output), item=item)
        else:
            item.update(role="assistant")
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield self._event("response.output_item.added", output_index=len(self._output), item={**item, "content": []})
        self._open = {**item, "content": [part]}
        yield self._text_event("response.content_part.added", part=dict(part))

    def _begin_call(self, index: int, name: str) -> Iterator[bytes]:
        self._open = {
            "id": f"fc_{self._head.unique}_{len(self._output)}",
            "type": "function_call",
            "call_id": self._head.tool_call_id(0, index),
            "name": name,
            "arguments": "",
            "status": "in_progress",
        }
        yield self._event("response.output_item.added", output_index=len(self._output), item=self._open)

    def _end_item(self) -> Iterator[bytes]:
        item = self._open
        if item is None:
            return
        is_cut = self._ended is not None and self._ended.finish_reason == "length"
        item["status"] = "incomplete" if is_cut else "completed"
        if item["type"] in {"message", "reasoning"}:
            (part,) = item["content"]
            is_text = item["type"] == "message"
            yield self._text_event(
                "response.output_text.done" if is_text else "response.reasoning_text.done",
                text=part["text"],
                **({"logprobs": []} if is_text else {}),
            )
            yield self._text_event("response.content_part.done", part=part)
        else:
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield self._item_event("response.function_call_arguments.done", **done)
        yield self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._open = None

    def _text_event(self, kind: str, **fields: object) -> bytes:
        return self._item_event(kind, content_index=0, **fields)

    def _item_event(self, kind: str, **fields: object) -> bytes:
        assert self._open is not None
        return self._event(kind, item_id=self._open["id"], output_index=len(self._output), **fields)

    def _event(self, kind: str, **fields: object) -> bytes:
        event = named_event({"type": kind, "sequence_number": self._num_events, **fields})
        self._num_events += 1
        return event


def _usage(counts: Counts) -> Json:
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached or 0, "cache_write_tokens": counts.created or 0},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.prompt + counts.completion,
    }
