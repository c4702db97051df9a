"""Bodies that hold a conversation: a frame, which repeats with every call, and turns, which grow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar

import msgspec

from turnwise.dialects import hints, markers, tail, turns
from turnwise.dialects.assistant import Heard
from turnwise.dialects.base import ReadCall
from turnwise.dialects.beginnings import MIN_BYTES, Beginning, Beginnings, Trail
from turnwise.dialects.body import Body
from turnwise.dialects.fold import HEAD_BYTES, Folder
from turnwise.dialects.frame import Frame, Frames
from turnwise.dialects.grown import GrownRaws, Growth
from turnwise.dialects.last_answer import ASSISTANT, last_answer
from turnwise.dialects.markers import Mark
from turnwise.dialects.prompt import WHOLE_UP_TO_BYTES, Parts
from turnwise.errors import ClientFault
from turnwise.turns import Tail
from turnwise.types import Headers, Prompt, Raw, SegmentKind

_TURNS = msgspec.json.Decoder(list[msgspec.Raw])


class ConversationDialect:
    """An API whose bodies hold a list of turns as their member `name`; `noun` is what messages call the turns.

    A dialect says what the frame of a body holds and what each turn is. Its prompt is what stands in the frame, then the turns.
    """

    results_in: ClassVar[frozenset[SegmentKind]] = frozenset((SegmentKind.TOOL,))
    """The turns that may hold results of tools."""

    def __init__(self, name: str, noun: str) -> None:
        self._turns_name = name
        self._noun = noun
        self._fold = Folder(name).fold
        self.beginnings = Beginnings()
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

    def results(self, turn: Raw) -> Iterable[Any]:
        """What stands as ids of tool results in a turn of `results_in`; raises what `UNREADABLE` names."""
        raise NotImplementedError

    def tail(self, prompt: Prompt, first: int) -> Tail:
        """See `Dialect.tail`."""
        return tail.tail(prompt, first, self.results, self.results_in)

    def quotes(self, prompt: Prompt) -> tuple[int, ...]:
        """See `Dialect.quotes`."""
        return tail.first_words(prompt)

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read a request; raises `ClientFault` naming the field that is wrong.

        Checked is what routing acts on. Everything else is left to the engine, whose words about it are better.
        """
        trail = None
        if len(body) >= MIN_BYTES:
            trail = Trail(body)
            known = self.beginnings.find(body, trail)
            if known is not None and (call := self._go_on(body, trail, known, splice_usage=splice_usage)) is not None:
                return call
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
        marked: Collection[int] = ()
        taken: Sequence[tuple[int, Mark]] = ()
        if marks:
            marked = turns.marked(starts, fold.end, marks)
            raws, taken = turns.unmarked(raws, marked)
        growth = None
        if trail is not None:
            growth = Growth(self.beginnings, None, trail, frame, fold.turns, raws, starts, marked)
        if frame.splice is not None:
            body = frame.splice.into(body, fold.end - starts[0] if frame.splice.start >= starts[0] else 0)
        return self._call(body, frame, kinds, raws, taken, growth)

    def _go_on(self, body: bytes, trail: Trail, known: Beginning, *, splice_usage: bool) -> ReadCall | None:
        """Read the turns behind a known beginning; None where the body must be read in full, if only to say what is wrong.

        What is read is the body without the turns that are known. It is JSON just where the body is, for a parser is in the
        same state before and behind what was left out, and it folds to the same frame.
        """
        place, num_known = known.place, known.num_segments
        start = place.starts[0]
        cut = place.end + (2 if body.startswith(b" ", place.end + 1) else 1)
        shorter = body[:start] + body[cut:]
        fold = self._fold(shorter)
        if fold is None or place.num_turns + len(fold.turns) > turns.MAX_TURNS:
            return None
        frames = self.frames[splice_usage]
        try:
            marks = markers.find(shorter, start, fold.end)
            frame = frames.known.get(fold.rest) or frames.learn(fold.rest)
            if frame is None or frame.digest != place.frame:
                return None
            kinds = self.kinds(fold.turns, fold.heads)
        except ClientFault:
            return None
        raws, shift = fold.turns, cut - start
        starts = [at + shift for at in fold.starts]
        marked: Collection[int] = ()
        taken: Sequence[tuple[int, Mark]] = ()
        if marks:
            marked = turns.marked(fold.starts, fold.end, marks)
            raws, taken = turns.unmarked(raws, marked)
        growth = Growth(self.beginnings, known, trail, frame, fold.turns, raws, starts, marked)
        if frame.splice is not None:
            body = frame.splice.into(body, fold.end + shift - start if frame.splice.start >= start else 0)
        call = self._call(body, frame, kinds, raws, taken, growth)
        answer = None if call.prompt is None else call.prompt.answer
        if answer is None or (answer.first == num_known and place.kinds[num_known - 1] is ASSISTANT):
            return None  # the last answer stands, or begins, among the turns that are known
        return call

    def read_in_full(self, document: bytes, *, splice_usage: bool) -> ReadCall:
        """Read a request of any shape, its whole top level checked."""
        body = Body(document)
        frame = self.frame(body, splice_usage=splice_usage)
        kinds, raws = self.turns_in_full(body)
        taken: Sequence[tuple[int, Mark]] = ()
        if markers.find(document):
            raws, taken = turns.unmarked(raws, range(len(raws)))
        return self._call(document if frame.splice is None else frame.splice.into(document), frame, kinds, raws, taken)

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

    def _call(
        self,
        body: bytes,
        frame: Frame,
        kinds: list[SegmentKind],
        raws: Sequence[Raw],
        taken: Sequence[tuple[int, Mark]],
        growth: Growth | None = None,
    ) -> ReadCall:
        """The call of a body with these turns, which may grow from a known beginning, and the marks `taken` out of them."""
        known = None if growth is None else growth.before
        if known is None:
            kinds_before, raws_before = frame.kinds, frame.raws
        else:
            kinds_before, raws_before = known.place.kinds[: known.num_segments], ()
        if len(body) <= WHOLE_UP_TO_BYTES or max(map(len, raws)) <= WHOLE_UP_TO_BYTES:
            all_kinds, all_raws = kinds_before + tuple(kinds), raws_before + tuple(raws)
        else:
            parts = Parts(kinds_before, raws_before)
            for kind, raw in zip(kinds, raws, strict=True):
                parts.add(kind, raw)
            all_kinds, all_raws = parts.kinds, parts.raws
        said = frame.hints
        if taken or (known is not None and known.place.breakpoints):
            is_cut = len(all_kinds) != len(kinds_before) + len(kinds)
            of_turns = hints.of_turns(raws, taken, len(kinds_before), is_cut=is_cut)
            if growth is not None:
                growth = growth.marked_by(of_turns)
                of_turns = growth.breakpoints
            said = hints.with_breakpoints(said, of_turns)
        answer = last_answer(kinds, raws, self.hear, len(kinds_before), len(all_kinds))
        if growth is None or known is None:
            prompt = Prompt(frame.root, all_kinds, all_raws, answer)
        else:
            grown = GrownRaws(frame.raws, growth.trail.body, known, all_raws)
            prompt = Prompt(frame.root, all_kinds, grown, answer, known.chain, known.num_segments)
        return ReadCall(
            body,
            frame.model,
            prompt,
            frame.is_stream,
            frame.splice is not None,
            frame.num_choices,
            frame.max_tokens,
            frame.continues,
            frame.is_stored,
            frame.unhashed_bytes,
            frame.asks_report,
            growth,
            said,
        )
