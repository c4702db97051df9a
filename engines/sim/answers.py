"""What an answer looks like in JSON: chunks of a stream and whole answers, for chat and for completions."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.engines.sim.script import Piece, Script

Json = dict[str, Any]


class Frame(msgspec.Struct, frozen=True):
    """What every chunk and answer of one call begins with."""

    id: str
    created: int
    model: str
    is_chat: bool
    reports_cached_tokens: bool
    """Whether usage tells of cached tokens."""

    def call_id(self, choice: int, index: int) -> str:
        """Id of one tool call."""
        return f"call_{self.id.rpartition('-')[2]}_{choice}_{index}"

    def envelope(self, choices: list[Json], *, is_chunk: bool) -> Json:
        """The outer object."""
        kind = "text_completion"
        if self.is_chat:
            kind = "chat.completion.chunk" if is_chunk else "chat.completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def usage(self, num_prompt: int, num_completion: int, num_cached: int, block_size: int) -> Json:
        """Token counts; `created_cache_tokens` are the prompt's full blocks that were not cached, told by chat only."""
        details = None
        if self.reports_cached_tokens:
            created = num_prompt // block_size * block_size - num_cached if self.is_chat else None
            details = {"cached_tokens": num_cached, "created_cache_tokens": created, "multimodal_tokens": None}
        return {
            "prompt_tokens": num_prompt,
            "total_tokens": num_prompt + num_completion,
            "completion_tokens": num_completion,
            "prompt_tokens_details": details,
        }

    def first_chunk(self, choice: int) -> Json:
        """The chunk that opens a chat choice."""
        return self._chunk(choice, {"role": "assistant", "content": ""}, None)

    def chunk(self, choice: int, piece: Piece, finish_reason: str | None) -> Json | None:
        """The chunk of one token; None where the client would see nothing in it."""
        if not self.is_chat:
            part = {"index": choice, "text": piece.text, "logprobs": None, "finish_reason": finish_reason, "stop_reason": None}
            return self.envelope([part], is_chunk=True)
        delta: Json = {}
        if piece.name:
            function = {"name": piece.name, "arguments": piece.arguments}
            call = {"index": piece.call, "id": self.call_id(choice, piece.call or 0), "type": "function", "function": function}
            delta["tool_calls"] = [call]
        elif piece.arguments:
            delta["tool_calls"] = [{"index": piece.call, "function": {"arguments": piece.arguments}}]
        elif piece.text:
            delta["content"] = piece.text
        if not delta and finish_reason is None:
            return None
        return self._chunk(choice, delta or {"content": ""}, finish_reason)

    def whole(self, choice: int, script: Script) -> Json:
        """One choice of an answer that is no stream."""
        text = "".join(piece.text for piece in script.pieces)
        if not self.is_chat:
            return {
                "index": choice,
                "text": text,
                "logprobs": None,
                "finish_reason": script.finish_reason,
                "stop_reason": None,
            }
        calls: dict[int, Json] = {}
        for piece in script.pieces:
            if piece.name and piece.call is not None:
                function = {"name": piece.name, "arguments": ""}
                calls[piece.call] = {"id": self.call_id(choice, piece.call), "type": "function", "function": function}
            if piece.arguments and piece.call is not None:
                calls[piece.call]["function"]["arguments"] += piece.arguments
        message: Json = {"role": "assistant", "content": text if text or not calls else None, "tool_calls": [*calls.values()]}
        return {
            "index": choice,
            "message": message,
            "logprobs": None,
            "finish_reason": script.finish_reason,
            "stop_reason": None,
        }

    def _chunk(self, choice: int, delta: Json, finish_reason: str | None) -> Json:
        return self.envelope(
            [{"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish_reason}], is_chunk=True
        )


def sse(value: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


SSE_DONE = b"data: [DONE]\n\n"
