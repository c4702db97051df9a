"""Captured calls taken through the real dialects and `Programs`, overlapping as they did, and answered as the file shows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from turnwise.dialects import DIALECTS, match
from turnwise.errors import ClientFault
from turnwise.proxy.programs import Programs
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits, ProgramSettings, TraceSettings
from turnwise.types import DialectName, Hit, Outcome, Placement, Terms

FOLDER = Path(__file__).parents[1] / "data" / "captures"
LABELS = json.loads((FOLDER / "LABELS.json").read_text())["files"]
TURNS = {DialectName.CHAT: "messages", DialectName.MESSAGES: "messages", DialectName.RESPONSES: "input"}
NAMING = (
    "user",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "client_metadata",
    "previous_response_id",
    "conversation",
)
"""Members of bodies that say who calls."""

PLACEMENT = Placement("a", "kv_aware", "only_one", 0, is_taught=False, hit=Hit(), terms=Terms())
PLAIN = "That is all that there is to say."


def rows_of(name: str) -> list[dict]:
    """The calls of a capture that have a prompt."""
    rows = []
    for line in (FOLDER / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["method"] == "POST" and match("POST", row["path"]).dialect in TURNS:
            rows.append(row)
    return rows


def together(*names: str) -> list[dict]:
    """Captures one after the other, their calls numbered `(file, seq)`."""
    rows, start = [], 0.0
    for name in names:
        own = rows_of(name)
        for row in own:
            times = {key: row[key] + start for key in ("t_arrive_s", "t_done_s")}
            rows.append({**row, **times, "seq": (name, row["seq"])})
        start = max(row["t_done_s"] for row in own) + start + 5.0
    return rows


def unmarked(value):
    if isinstance(value, dict):
        return {key: unmarked(item) for key, item in value.items() if key != "cache_control"}
    return [unmarked(item) for item in value] if isinstance(value, list) else value


def turns_of(row: dict) -> list:
    """What is said in turn, without what stands at the head."""
    turns = row["body"][TURNS[match("POST", row["path"]).dialect]]
    said = turns if isinstance(turns, list) else [turns]
    return [unmarked(turn) for turn in said if not isinstance(turn, dict) or turn.get("role") not in ("system", "developer")]


def is_the_models(turn) -> bool:
    return isinstance(turn, dict) and (turn.get("role") == "assistant" or turn.get("type", "").endswith("_call"))


def answers_of(rows: list[dict]) -> dict:
    """What each call was answered: the turns of the model that the next call shows behind its own, if one does."""
    answers = {}
    for at, row in enumerate(rows):
        own = turns_of(row)
        shown = (turns for turns in map(turns_of, rows[at + 1 :]) if turns[: len(own)] == own and len(turns) > len(own))
        behind = next(shown, own)[len(own) :]
        end = next((end for end, turn in enumerate(behind) if not is_the_models(turn)), len(behind))
        answers[row["seq"]] = behind[:end]
    return answers


def answer_body(dialect: DialectName, turns: list, response_id: str) -> bytes:
    """An answer of these turns as its API would give it."""
    if dialect is DialectName.RESPONSES:
        text = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": PLAIN}]}
        output = [{"type": "message", **turn} if "role" in turn else turn for turn in turns] or [text]
        body = {"object": "response", "id": response_id, "status": "completed", "output": output}
    elif dialect is DialectName.MESSAGES:
        content = turns[0]["content"] if turns else PLAIN
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        body = {"type": "message", "role": "assistant", "id": response_id, "content": blocks, "stop_reason": "end_turn"}
    else:
        message = dict(turns[0]) if turns else {"role": "assistant", "content": PLAIN}
        if isinstance(message.get("content"), list):
            message["content"] = "".join(part["text"] for part in message["content"])
        body = {"id": response_id, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return json.dumps(body).encode()


def fields_of(row: dict) -> dict[bytes, bytes]:
    pairs = row["headers"].items() if isinstance(row["headers"], dict) else row["headers"]
    return {name.lower().encode(): value.encode() for name, value in pairs}


def read(reader: Reader, row: dict, *, is_stripped: bool):
    fields = {} if is_stripped else fields_of(row)
    body = {key: value for key, value in row["body"].items() if key not in NAMING} if is_stripped else row["body"]
    document = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    raw = RawRequest("POST", row["path"], tuple(fields.items()), document, row["t_arrive_s"], row["t_arrive_s"], fields)
    return reader.read(raw, match("POST", row["path"]), str(row["seq"])), fields


def outcome_of(request, now: float, tap=None, *, status: int = 200, is_complete: bool = True) -> Outcome:
    return Outcome(
        call_id=request.call_id,
        request_id=request.request_id,
        dialect=request.dialect,
        model=request.model,
        max_tokens=request.max_tokens,
        num_choices=request.num_choices,
        is_stream=request.is_stream,
        unhashed_bytes=0,
        arrived_at=request.arrived_at,
        read_at=request.read_at,
        placement=PLACEMENT,
        attempt=0,
        status=status,
        is_complete=is_complete,
        has_started=True,
        is_client_gone=not is_complete,
        fault=None,
        usage=None,
        finish_reason=None,
        booked_at=request.read_at,
        sent_at=request.read_at,
        head_at=now,
        first_byte_at=now,
        first_token_at=now,
        first_visible_at=now,
        last_byte_at=now,
        ended_at=now,
        body_bytes=0,
        answer=None if tap is None else tap.answer,
        tool_calls=() if tap is None else tap.tool_calls,
        first_tool_at=None,
        response_id=None if tap is None else tap.response_id,
    )


class Replayed(msgspec.Struct):
    """What became of captured calls."""

    programs: Programs
    turns: dict
    """By their number."""

    def edges(self) -> set[tuple]:
        """Links as (from, to, kind)."""
        numbers = {turn.call_id: seq for seq, turn in self.turns.items()}
        return {(numbers[link.call_id], seq, link.kind.value) for seq, turn in self.turns.items() for link in turn.links}

    def groups(self) -> set[frozenset]:
        """The calls of each program."""
        groups = defaultdict(set)
        for seq, turn in self.turns.items():
            groups[turn.key.id].add(seq)
        return set(map(frozenset, groups.values()))


def replay(
    rows: list[dict],
    *,
    is_stripped: bool = False,
    settings: ProgramSettings | None = None,
    workers: Sequence[Programs] = (),
) -> Replayed:
    """Take calls through identity in the order in which they began and ended; dealt in turn to `workers` if there are some."""
    reader = Reader(Edits(include_usage=False))
    workers = workers or (Programs(settings or ProgramSettings(), TraceSettings()),)
    answers = answers_of(rows)
    named = [row["body"].get("previous_response_id") for row in rows]
    moments = []
    for at, row in enumerate(rows):
        try:
            request, fields = read(reader, row, is_stripped=is_stripped)
        except ClientFault:
            continue
        response_id = (named[at + 1] if at + 1 < len(rows) else None) or f"resp_{at}"
        moments += [(row["t_arrive_s"], 1, at, request, fields), (row["t_done_s"], 0, at, request, response_id)]
    turns = {}
    for now, is_begin, at, request, given in sorted(moments, key=lambda moment: (moment[0], -moment[1], moment[2])):
        seq = rows[at]["seq"]
        programs = workers[at % len(workers)]
        if is_begin:
            turns[seq] = programs.begin(request, given, now)
            continue
        tap = DIALECTS[request.dialect].tap(wants_answer=True)
        tap.on_head(200, is_stream=False)
        tap.feed(answer_body(request.dialect, answers[seq], given), now)
        tap.close(now)
        programs.settle(turns[seq], outcome_of(request, now, tap), now)
    return Replayed(workers[0], turns)


def f1(wanted: set, found: set) -> float:
    """The harmonic mean of precision and recall; 1 where there is nothing to find and nothing was found."""
    return 2 * len(wanted & found) / (len(wanted) + len(found)) if wanted or found else 1.0
