"""Answers of chat and completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from turnwise.engines.sim.answers import CallHead, Counts, Json, data
from turnwise.engines.sim.script import Piece, Script

_DONE = b"data: [DONE]\n\n"


class OpenAIWriter:
    """Writes chat's answers, or those of completions where `is_chat` is False."""

    def __init__(self, head: CallHead, *, is_chat: bool, wants_usage: bool) -> None:
        self._head = head
        self._id = f"{'chatcmpl' if is_chat else 'cmpl'}-{head.name}"
        self._is_chat = is_chat
        self._wants_usage = wants_usage
        self._opened: set[int] = set()

    def begin(self, num_prompt: int) -> Iterator[bytes]:
        """Nothing: a choice opens with its first token."""
        del num_prompt
        yield from ()

    def say(self, choice: int, piece: Piece, ended: Script | None) -> Iterator[bytes]:
        """The chunk that opens the choice, and that of the token, where a client would see something in it."""
        if self._is_chat and choice not in self._opened:
            self._opened.add(choice)
            yield self._chunk(choice, {"role": "assistant", "content": ""}, None)
        reason = None if ended is None else ended.finish_reason
        if not self._is_chat:
            part = {"index": choice, "text": piece.text, "logprobs": None, "finish_reason": reason, "stop_reason": None}
            yield data(self._envelope([part], is_chunk=True))
            return
        delta = self._delta(choice, piece)
        if delta or reason is not None:
            yield self._chunk(choice, delta or {"content": ""}, reason)

    def end(self, counts: Counts) -> Iterator[bytes]:
        """The usage chunk, where it is wanted, and the end mark."""
        if self._wants_usage:
            yield data({**self._envelope([], is_chunk=True), "usage": self._usage(counts)})
        yield _DONE

    def whole(self, scripts: Sequence[Script], counts: Counts) -> bytes:
        """All choices in one answer."""
        choices = [self._choice(choice, script) for choice, script in enumerate(scripts)]
        return msgspec.json.encode({**self._envelope(choices, is_chunk=False), "usage": self._usage(counts)})

    def _envelope(self, choices: list[Json], *, is_chunk: bool) -> Json:
        kind = "text_completion"
        if self._is_chat:
            kind = "chat.completion.chunk" if is_chunk else "chat.completion"
        return {"id": self._id, "object": kind, "created": self._head.created, "model": self._head.model, "choices": choices}

    def _usage(self, counts: Counts) -> Json:
        details = None
        if counts.cached is not None:
            created = counts.created if self._is_chat else None
            details = {"cached_tokens": counts.cached, "created_cache_tokens": created, "multimodal_tokens": None}
        return {
            "prompt_tokens": counts.prompt,
            "total_tokens": counts.prompt + counts.completion,
            "completion_tokens": counts.completion,
            "prompt_tokens_details": details,
        }

    def _chunk(self, choice: int, delta: Json, finish_reason: str | None) -> bytes:
        part = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return data(self._envelope([part], is_chunk=True))

    def _delta(self, choice: int, piece: Piece) -> Json:
        if piece.name:
            call_id = self._head.tool_call_id(choice, piece.call or 0)
            function = {"name": piece.name, "arguments": piece.arguments}
            return {"tool_calls": [{"index": piece.call, "id": call_id, "type": "function", "function": function}]}
        if piece.arguments:
            return {"tool_calls": [{"index": piece.call, "function": {"arguments": piece.arguments}}]}
        if piece.reasoning:
            return {"reasoning": piece.reasoning}
        return {"content": piece.text} if piece.text else {}

    def _choice(self, choice: int, script: Script) -> Json:
        shown: Json = {"text": script.text}
        if self._is_chat:
            calls = [
                {
                    "id": self._head.tool_call_id(choice, call.index),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in script.calls
            ]
            content = script.text if script.text or not calls else None
            thought = {"reasoning": script.reasoning} if script.reasoning else {}
            shown = {"message": {"role": "assistant", "content": content, "tool_calls": calls, **thought}}
        return {
            "index": choice,
            **shown,
            "logprobs": None,
            "finish_reason": script.finish_reason,
            "stop_reason": script.stop,
        }
