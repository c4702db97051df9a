"""Bodies that hold a conversation: a frame, which repeats with every call, and turns, which grow."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnwise.dialects import markers, turns
from turnwise.dialects.assistant import Heard
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.fold import HEAD_BYTES, Folder
from turnwise.dialects.frame import Frame, Frames
from turnwise.dialects.last_answer import last_answer
from turnwise.dialects.prompt import WHOLE_UP_TO_BYTES, Parts
from turnwise.errors import ClientFault
from turnwise.types import Headers, Prompt, Raw, SegmentKind

_TURNS = msgspec.json.Decoder(list[msgspec.Raw])


class ConversationDialect:
    """An API whose bodies hold a list of turns as their member `name`; `noun` is what messages call the turns.

    A dialect says what the frame of a body holds and what each turn is. Its prompt is what stands in the frame, then the turns.
    """

    def __init__(self, name: str, noun: str) -> None:
        self._turns_name = name
        self._noun = noun
        self._fold = Folder(name).fold
        self.frames = tuple(Frames(name, self.frame, splice_usage=splice_usage) for splice_usage in (False, True))
        """Those of bodies that are forwarded as they are, and of those whose streams are asked for usage."""

    def frame(self, body: Body, *, splice_usage: bool) -> Frame:
        """What a body says beside its turns; raises `ClientFault` naming the field that is wrong."""
        raise NotImplementedError

    def kinds(self, raws: Sequence[Raw], heads: Sequence[bytes]) -> list[SegmentKind]:
        """What each turn is; `heads` are their first `HEAD_BYTES`. Raises `ClientFault` where a turn does not say it."""
        raise NotImplementedError

    def hear(self, turn: Raw, heard: Heard) -> None:
        """Note what an assistant turn says; raises what `UNREADABLE` names where that is not known."""
        raise NotImplementedError

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read a request; raises `ClientFault` naming the field that is wrong.

        Checked is what routing acts on. Everything else is left to the engine, whose words about it are better.
        """
        fold = self._fold(body)
        if fold is None:
            return self.read_in_full(body, splice_usage=splice_usage)
        raws, starts = fold.turns, fold.starts
        marks = markers.find(body, starts[0], fold.end)
        frames = self.frames[splice_usage]
        frame = frames.known.get(fold.rest) or frames.learn(fold.rest)
        if frame is None:
            return self.read_in_full(body, splice_usage=splice_usage)
        if len(raws) > turns.MAX_TURNS:
            raise self._too_many()
        kinds = self.kinds(raws, fold.heads)
        if marks:
            raws = turns.unmarked(raws, starts, marks)
        if frame.splice is not None:
            body = frame.splice.into(body, fold.end - starts[0] if frame.splice.start >= starts[0] else 0)
        return self._call(body, frame, kinds, raws)

    def read_in_full(self, document: bytes, *, splice_usage: bool) -> ReadCall:
        """Read a request of any shape, its whole top level checked."""
        body = Body(document)
        frame = self.frame(body, splice_usage=splice_usage)
        kinds, raws = self.turns_in_full(body)
        if markers.find(document):
            raws = [markers.without_cache_control(raw) for raw in raws]
        return self._call(document if frame.splice is None else frame.splice.into(document), frame, kinds, raws)

    def turns_in_full(self, body: Body) -> tuple[list[SegmentKind], list[Raw]]:
        """The turns of a body; raises `ClientFault` where they are missing, none, too many or no list."""
        raws = body.typed(self._turns_name, _TURNS, f"a list of {self._noun}")
        if raws is None:
            raise body.fault(self._turns_name, "is missing")
        if not raws:
            raise body.fault(self._turns_name, "must not be empty")
        if len(raws) > turns.MAX_TURNS:
            raise self._too_many()
        return self.kinds(raws, [bytes(memoryview(raw)[:HEAD_BYTES]) for raw in raws]), [*raws]

    def _too_many(self) -> ClientFault:
        name = self._turns_name
        return ClientFault(f"`{name}` must not hold more than {turns.MAX_TURNS} {self._noun}", param=name)

    def _call(self, body: bytes, frame: Frame, kinds: list[SegmentKind], raws: list[Raw]) -> ReadCall:
        if len(body) <= WHOLE_UP_TO_BYTES or max(map(len, raws)) <= WHOLE_UP_TO_BYTES:
            all_kinds, all_raws = (*frame.kinds, *kinds), (*frame.raws, *raws)
        else:
            parts = Parts(frame.kinds, frame.raws)
            for kind, raw in zip(kinds, raws, strict=True):
                parts.add(kind, raw)
            all_kinds, all_raws = parts.kinds, parts.raws
        answer = last_answer(kinds, raws, self.hear, len(frame.kinds), len(all_kinds))
        return ReadCall(
            body,
            frame.model,
            Prompt(frame.root, all_kinds, all_raws, answer),
            frame.is_stream,
            frame.splice is not None,
            frame.num_choices,
            frame.max_tokens,
            frame.continues,
            frame.is_stored,
            frame.unhashed_bytes,
            frame.asks_report,
        )
