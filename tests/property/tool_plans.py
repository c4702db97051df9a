"""Random answers with tool calls: what a model meant, how an engine wrote it in one of three APIs, and what it did wrong."""

import json
import random
from itertools import pairwise

import msgspec
from tests.unit.tool_streams import (
    CHAT,
    DONE,
    MESSAGE_STOP,
    MESSAGES,
    RESPONSES,
    arguments_event,
    block,
    event,
    input_delta,
    item,
    message_end,
    piece,
    response_end,
    tool_use,
)  # fmt: skip

LETTERS = ["a", "}", "{", '"', "\\", "\\u0022", "\n", "é", "😀", "[", "]", " ", "\u2028", "x" * 30]
SPACE = " \t\n\r"
LIMIT = 50
"""Tokens that every request allows."""

MALFORMED = {
    "name twice": '{"a":1,"a":2}',
    "no number": '{"a":NaN}',
    "half a pair": '{"a":"\\ud83d"}',
    "a list": "[1,2]",
    "its first letters lost": 'ity":"x"}',
    "a comma too many": '{"a":1,}',
}


class Written(msgspec.Struct):
    """One call as it is written."""

    name: str
    id: str
    text: str
    """What the model meant, or a defect of it; empty for none at all."""
    defect: str = ""
    behind: str = ""
    """What comes behind the arguments."""
    closes_at: int = 0
    """Offset behind the event that brings its last character but space; 0 until it is written."""

    @property
    def is_good(self):
        return self.defect in {"", "space behind"}


class Plan(msgspec.Struct):
    """An answer: its bytes as reads, and what is true of it."""

    path: str
    calls: list[Written]
    reads: list[bytes]
    why: str
    """How it ends, as far as its bytes tell."""
    num_delivered: int
    """Reads that came before it broke off."""
    is_client_gone: bool = False
    is_stream: bool = True

    @property
    def is_whole(self):
        return self.num_delivered == len(self.reads) and not self.is_client_gone


def value(draw: random.Random, depth=0):
    kind = draw.randrange(7 if depth < 3 else 4)
    if kind == 0:
        return draw.choice([True, False, None, 0, -1, 12.5, 10**20])
    if kind < 4:
        return "".join(draw.choices(LETTERS, k=draw.randrange(6)))
    if kind == 4:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(LETTERS) + str(number): value(draw, depth + 1) for number in range(draw.randrange(4))}


def arguments(draw):
    """The text of an object, spelled in any way."""
    meant = {f"k{number}": value(draw) for number in range(draw.randrange(5))}
    separators = draw.choice([(",", ":"), (", ", ": ")])
    text = json.dumps(meant, ensure_ascii=draw.random() < 0.5, separators=separators, indent=draw.choice([None, None, 1]))
    return draw.choice(["", "", "", " ", "\n"]) + text


def call(draw, number, path):
    made = Written(draw.choice("fgh"), f"call_{number}_{draw.randrange(10**6)}", arguments(draw))
    chance = draw.random()
    if chance < 0.1:
        made.text = ""
    elif chance < 0.16:
        made.defect, made.text = draw.choice(list(MALFORMED.items()))
    elif chance < 0.2:
        made.defect, made.text = "open", made.text.rstrip(SPACE)[: -draw.randrange(1, 2 if len(made.text) < 4 else 4)]
        made.text = made.text if made.text.strip(SPACE) else "{"
    elif chance < 0.25:
        made.defect, made.behind = "drift", draw.choice(["}", "x", " {}", made.text.strip(SPACE)[-1:], '"', "\\"])
    elif chance < 0.3:
        made.defect, made.behind = "space behind", draw.choice(SPACE)
    elif chance < 0.32 and path != MESSAGES:
        made.defect = "renamed" if path == CHAT else "final text differs"
    return made


def pieces(draw, text):
    """A text cut anywhere, now and then within a surrogate pair."""
    units = [text] if draw.random() < 0.15 else []
    while text and not units:
        at = 0
        while at < len(text):
            size = draw.choice([1, 2, 4, 4, 8, 30])
            units.append(text[at : at + size])
            at += size
    cut = []
    for unit in units:
        if len(unit) == 1 and ord(unit) > 0xFFFF and draw.random() < 0.5:
            pair = unit.encode("utf-16-le")
            cut += [pair[:2].decode("utf-16-le", "surrogatepass"), pair[2:].decode("utf-16-le", "surrogatepass")]
        else:
            cut.append(unit)
    return cut


class Writer:
    """Writes calls as one API does; `events` are lists of one call's events in order, each with what it brings of arguments."""

    def __init__(self, draw):
        self.draw = draw
        self.at_0 = draw.random() < 0.2
        self.repeats_name = draw.random() < 0.2
        self.is_steady = draw.random() < 0.5
        """Whether an engine of chat writes all its events in one way, as most do."""

    def chat(self, number, made):
        draw, index = self.draw, 0 if self.at_0 else number
        parts = pieces(draw, made.text) + ([made.behind] if made.behind else [])
        if made.text and not made.behind and draw.random() < 0.1 and made.is_good and "\n" not in made.text:
            whole = piece(msgspec.Raw(made.text.strip(SPACE).encode()), name=made.name, index=index, call_id=made.id)
            made.text = made.text.strip(SPACE)
            yield self.chunk(whole), made.text
            return
        if made.defect == "renamed":
            parts = ["{", made.text.strip(SPACE)[1:]]
        header = [""] if draw.random() < 0.5 and not self.is_interleaved else []
        texts = [*header, *parts] or [""]
        for position, text in enumerate(texts):
            first = position == 0
            name = made.name if first or (self.repeats_name and made.defect != "renamed") else None
            if made.defect == "renamed" and position == len(texts) - 1:
                name = "other"
            split = first and text == "" and len(texts) > 1 and not self.at_0 and draw.random() < 0.3
            if split:
                yield self.chunk(piece("", name="", index=index, call_id=made.id)), ""
            call_id = made.id if first or (not self.is_steady and draw.random() < 0.2) else None
            yield self.chunk(piece(text, name=name, index=index, call_id=call_id)), text

    def chunk(self, given):
        delta = {"tool_calls": [given], **({"content": None} if not self.is_steady and self.draw.random() < 0.3 else {})}
        chunk = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        return b"data: " + self.encode(chunk) + b"\n\n"

    def encode(self, payload):
        if isinstance(payload["choices"][0]["delta"]["tool_calls"][0]["function"].get("arguments"), msgspec.Raw):
            return msgspec.json.encode(payload)
        separators = (",", ":") if self.is_steady else self.draw.choice([(",", ":"), (", ", ": ")])
        return json.dumps(payload, separators=separators).encode()

    def messages(self, number, made):
        yield tool_use(made.name, number, made.id), ""
        for text in (["", *pieces(self.draw, made.text)]) + ([made.behind] if made.behind else []):
            yield input_delta(text, number), text
        yield block("stop", number), ""

    def responses(self, number, made):
        yield item("added", made.name, number, made.id), ""
        for text in pieces(self.draw, made.text) + ([made.behind] if made.behind else []):
            yield arguments_event("delta", text, number), text
        final = made.text + made.behind
        if made.defect == "final text differs":
            final = final.replace("{", "{ ", 1)
        yield arguments_event("done", final, number), ""
        yield item("done", made.name, number, made.id, arguments=final, status="completed"), ""

    is_interleaved = False

    def events(self, path, calls):
        """All events in an order that an engine may choose, and what each brings of which call."""
        write = {CHAT: self.chat, MESSAGES: self.messages, RESPONSES: self.responses}[path]
        self.is_interleaved = self.draw.random() < 0.2 and not self.at_0 and all(made.text for made in calls)
        lists = [[(data, made, text) for data, text in write(number, made)] for number, made in enumerate(calls)]
        if not self.is_interleaved:
            return [entry for entries in lists for entry in entries]
        merged = []
        opened = [entries.pop(0) for entries in lists]
        merged += opened
        while any(lists):
            merged.append(self.draw.choice([entries for entries in lists if entries]).pop(0))
        return merged


def chat_end(reason, tokens=9, **more):
    usage = {"prompt_tokens": 9, "completion_tokens": tokens}
    return event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}], "usage": usage})


ENDS = {
    CHAT: [
        *[(chat_end("tool_calls") + DONE, "clean")] * 6,
        (chat_end("stop") + DONE, "clean"),
        (chat_end("tool_calls", LIMIT) + DONE, "length"),
        (chat_end("length") + DONE, "length"),
        (chat_end("content_filter") + DONE, "filtered"),
        (chat_end("stop", stop_reason="END") + DONE, "stopped"),
        (event({"choices": [{"index": 0, "delta": {"refusal": "no"}}]}) + chat_end("stop") + DONE, "refused"),
        (event({"error": {"message": "oh"}}) + DONE, "broken"),
        (chat_end("tool_calls"), "broken"),
    ],
    MESSAGES: [
        *[(message_end("tool_use") + MESSAGE_STOP, "clean")] * 6,
        (message_end("end_turn") + MESSAGE_STOP, "clean"),
        (message_end("tool_use", LIMIT) + MESSAGE_STOP, "length"),
        (message_end("max_tokens") + MESSAGE_STOP, "length"),
        (message_end("refusal") + MESSAGE_STOP, "refused"),
        (message_end("stop_sequence") + MESSAGE_STOP, "stopped"),
        (event({"type": "error", "error": {}}), "broken"),
        (message_end("tool_use"), "broken"),
    ],
    RESPONSES: [
        *[(response_end(), "clean")] * 6,
        (response_end(tokens=LIMIT), "length"),
        (response_end("incomplete", reason="max_output_tokens"), "length"),
        (response_end("incomplete", reason="content_filter"), "filtered"),
        (event({"type": "response.refusal.delta", "delta": "no"}) + response_end(), "refused"),
        (response_end("failed"), "broken"),
        (b"", "broken"),
    ],
}
TEXTS = {
    CHAT: event({"id": "c", "choices": [{"index": 0, "delta": {"content": 'see "tool_calls": [{'}, "finish_reason": None}]}),
    MESSAGES: block("delta", 90, delta={"type": "text_delta", "text": 'see "tool_use"'}),
    RESPONSES: event({"type": "response.output_text.delta", "output_index": 90, "delta": "see function"}),
}
OTHERS = [b": ping\n\n", b"event: x\n\n", b"\n", b"data:\n\n", b"retry: 5\n\n"]


def plan(seed, path):
    """The answer of this seed."""
    draw = random.Random(f"{seed}{path}")
    calls = [call(draw, number, path) for number in range(draw.choice([0, 1, 1, 1, 2, 2, 3, 4, 6]))]
    stream = bytearray()
    for data, made, text in Writer(draw).events(path, calls):
        if draw.random() < 0.1:
            stream += TEXTS[path]
        if draw.random() < 0.1:
            stream += draw.choice(OTHERS)
        stream += data
        if text.strip(SPACE):
            made.closes_at = len(stream)
    stream += TEXTS[path] * draw.choice([0, 0, 0, 1, 30])
    end, why = draw.choice(ENDS[path])
    stream += end
    reads = cut(draw, bytes(stream))
    made = Plan(path, calls, reads, why, len(reads))
    if draw.random() < 0.2:
        made.num_delivered = draw.randrange(len(reads) + 1)
        made.is_client_gone = draw.random() < 0.5
    return made


MAX_PLACES = 100
"""Of cuts in one answer: what is cut at every third byte is found in more answers as well, for a third of the time."""


def cut(draw, stream):
    """Reads: whole events, or bytes cut anywhere."""
    if draw.random() < 0.4:
        return [part + b"\n\n" for part in stream.split(b"\n\n")[:-1]] or [stream]
    places = draw.choice([0, 3, 30, min(len(stream) // 3, MAX_PLACES)])
    bounds = [0, *sorted(draw.choices(range(len(stream) + 1), k=places)), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]
