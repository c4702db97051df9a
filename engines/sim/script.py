"""What an answer will say, decided when the call comes: engine seed, prompt and choice give the same words on every run.

A real model draws each token; here all are drawn at once and the scheduler only decides when each appears.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from turnwise.engines.sim.invent import invent
from turnwise.engines.sim.tokens import END_OF_TURN, pieces, pseudo_sentence, pseudo_word, token_of

FinishReason = Literal["stop", "length", "tool_calls"]

MIN_WORDS, MAX_WORDS = 24, 160
"""Range of an answer's length in pieces where nothing else ends it."""
MIN_THOUGHT, MAX_THOUGHT = 12, 60
"""Range of the length of reasoning in words."""


class Piece(msgspec.Struct, frozen=True):
    """One generated token and what a client sees of it: reasoning, text, a part of a tool call, or nothing."""

    token: int
    text: str = ""
    call: int | None = None
    """Index of the tool call that this piece belongs to."""
    name: str = ""
    """Set on the piece that opens a tool call."""
    arguments: str = ""
    reasoning: str = ""


class Script(msgspec.Struct, frozen=True):
    """All tokens of one answer and why it ends."""

    pieces: tuple[Piece, ...]
    finish_reason: FinishReason
    stop: str | None = None
    """The stop text that ended it."""

    @property
    def text(self) -> str:
        """All that a client reads."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def reasoning(self) -> str:
        """What the model thought first."""
        return "".join(piece.reasoning for piece in self.pieces)

    @property
    def calls(self) -> tuple[SaidCall, ...]:
        """The tool calls whose name was said; the arguments of the last may be cut short."""
        names = {piece.call: piece.name for piece in self.pieces if piece.name and piece.call is not None}
        said = {index: "".join(piece.arguments for piece in self.pieces if piece.call == index) for index in names}
        return tuple(SaidCall(index, name, said[index]) for index, name in names.items())


class SaidCall(msgspec.Struct, frozen=True):
    """One tool call of an answer; `arguments` is JSON unless the answer was cut short."""

    index: int
    name: str
    arguments: str


class ToolRequest(msgspec.Struct, frozen=True):
    """A tool that the answer shall call, with the JSON schema of its parameters."""

    name: str
    parameters: dict[str, Any]


class Limits(msgspec.Struct, frozen=True):
    """What ends an answer: `max_tokens` always, a stop text or the natural end only from `min_tokens` on."""

    max_tokens: int
    min_tokens: int = 0
    ignores_end: bool = False
    stops: tuple[str, ...] = ()


def write_text(rng: random.Random, limits: Limits) -> Script:
    """An answer of pseudo-words."""
    natural = rng.randint(MIN_WORDS, MAX_WORDS)
    length = limits.max_tokens if limits.ignores_end else min(limits.max_tokens, max(natural, limits.min_tokens))
    said = _words(rng, length)
    stopped = _first_stop(said, limits)
    if stopped is not None:
        return stopped
    if limits.ignores_end or length == limits.max_tokens:
        return Script(said, "length")
    return Script((*said, Piece(token_of(END_OF_TURN))), "stop")


def write_tool_calls(rng: random.Random, tools: Sequence[ToolRequest], limits: Limits) -> Script:
    """An answer that calls these tools, in the notation that the template renders; `max_tokens` may cut it short."""
    said = [piece for index, tool in enumerate(tools) for piece in _tool_call(rng, index, tool)]
    said.append(Piece(token_of(END_OF_TURN)))
    if len(said) > limits.max_tokens:
        return Script(tuple(said[: limits.max_tokens]), "length")
    return Script(tuple(said), "tool_calls")


def write_after_thought(rng: random.Random, tools: Sequence[ToolRequest], limits: Limits) -> Script:
    """An answer that begins with reasoning, then calls these tools or is text; `max_tokens` may end it on the way."""
    thought = _thought(rng)[: limits.max_tokens]
    left = limits.max_tokens - len(thought)
    if not left:
        return Script(thought, "length")
    rest = msgspec.structs.replace(limits, max_tokens=left, min_tokens=max(0, limits.min_tokens - len(thought)))
    script = write_tool_calls(rng, tools, rest) if tools else write_text(rng, rest)
    return msgspec.structs.replace(script, pieces=(*thought, *script.pieces))


def thought_text(reasoning: str) -> tuple[str, str, str]:
    """Reasoning as the model writes it, in three parts: its opening, itself, and its end."""
    return "<think>\n", reasoning, "\n</think>\n\n"


def call_text(name: str, arguments: str) -> tuple[str, str, str]:
    """A tool call as the model writes it, in three parts: up to the arguments, these, and the rest."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": ', arguments, "}\n</tool_call>"


def _thought(rng: random.Random) -> tuple[Piece, ...]:
    head, body, tail = thought_text(pseudo_sentence(rng, rng.randint(MIN_THOUGHT, MAX_THOUGHT)))
    said: list[Piece] = []
    at = -len(head)
    # Cut as it will be when a word or a mark follows.
    for text in pieces(head + body + tail + "x")[:-1]:
        shown = text[max(0, -at) : max(0, len(body) - at)]
        at += len(text)
        said.append(Piece(token_of(text), reasoning=shown))
    return tuple(said)


def _words(rng: random.Random, count: int) -> tuple[Piece, ...]:
    said: list[Piece] = []
    starts_sentence = True
    while len(said) < count:
        word = pseudo_word(rng)
        text = word.capitalize() if starts_sentence else word
        if said:
            text = " " + text
        said.append(Piece(token_of(text), text))
        starts_sentence = rng.random() < 0.1 and len(said) < count
        if starts_sentence:
            said.append(Piece(token_of("."), "."))
    return tuple(said)


def _first_stop(said: tuple[Piece, ...], limits: Limits) -> Script | None:
    """The answer up to the first stop text, which itself is not shown; None where none occurs."""
    text = ""
    for index, piece in enumerate(said):
        text += piece.text
        if index + 1 < limits.min_tokens:
            continue
        found = min(((at, stop) for stop in limits.stops if (at := text.find(stop)) >= 0), default=None)
        if found is None:
            continue
        return Script(_clip(said[: index + 1], found[0]), "stop", found[1])
    return None


def _clip(said: tuple[Piece, ...], length: int) -> tuple[Piece, ...]:
    clipped: list[Piece] = []
    for piece in said:
        clipped.append(msgspec.structs.replace(piece, text=piece.text[:length]))
        length -= len(clipped[-1].text)
    return tuple(clipped)


def _tool_call(rng: random.Random, index: int, tool: ToolRequest) -> list[Piece]:
    arguments = msgspec.json.encode(invent(rng, tool.parameters)).decode()
    head, body, tail = call_text(tool.name, arguments)
    separator = "\n" if index else ""
    begin = len(separator) + len(head)
    said: list[Piece] = []
    at = 0
    is_open = False
    for text in pieces(separator + head + body + tail):
        shown = text[max(0, begin - at) : max(0, begin + len(body) - at)]
        at += len(text)
        name = tool.name if at >= begin and not is_open else ""
        is_open = is_open or at >= begin
        said.append(Piece(token_of(text), call=index, name=name, arguments=shown))
    return said
