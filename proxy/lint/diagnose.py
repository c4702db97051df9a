"""Why one prompt does not extend another: whether it was meant to at all, and what stands where they part.

A prompt breaks another if turns that the model has read or written stand in it again, behind something that is not as it was:
then what was computed for them is of no use. Where nothing behind the difference stands again, the prompt is a branch, a retry
or another conversation, and nothing is reported: a false alarm costs more than a miss.
"""

from __future__ import annotations

import msgspec

from turnwise.proxy.lint import texts
from turnwise.proxy.lint.causes import Cause
from turnwise.proxy.lint.compare import Part, Place, Views, part_at, place_of
from turnwise.proxy.lint.texts import Volatile
from turnwise.types import SegmentKind

MIN_REPEATED_BYTES = 64
"""How much of what the model wrote must stand in two prompts to tell that they are of one conversation: many answers are
"Done."."""

MIN_SHARE = 0.7
"""Share of a text that must stand in both prompts, before and behind one change, for them to be taken for one text."""

MAX_NOTE_BYTES = 160
"""A piece with a date or an id in it is a note of that up to this size; a larger one is content that was taken out."""

_SYSTEM = {
    Volatile.DATE: Cause.TIMESTAMP_IN_SYSTEM,
    Volatile.ID: Cause.RANDOM_ID_IN_SYSTEM,
    Volatile.NUMBER: Cause.COUNTER_IN_SYSTEM,
}


class Break(msgspec.Struct, frozen=True, gc=False):
    """Where and why; `repeated_bytes` is what the model wrote that stands in both prompts, the more the surer."""

    place: Place
    cause: Cause
    repeated_bytes: int


def diagnose(earlier: Views, later: Views, position: int) -> Break | None:
    """Say why `later` broke `earlier` at segment `position`, the first that differs; None where it did not."""
    one, other = part_at(earlier.prompt, position), part_at(later.prompt, position)
    if one is None or other is None:
        return None  # one of them extends the other
    is_other_root = earlier.prompt.root != later.prompt.root
    start = min(one.first, other.first)
    in_head = is_other_root or position < max(earlier.head, later.head)
    repeated = _repeated(earlier, later, min(start, earlier.head, later.head) if in_head else start)
    num_bytes = sum(len(later.prompt.raws[at]) for at in repeated.values())
    try:
        cause = _in_head(earlier, later, one, other, num_bytes) if in_head else _in_turns(earlier, later, one, other, num_bytes)
    except RecursionError:  # JSON that nobody would write is nested as deep as the decoder allows
        cause = Cause.UNKNOWN if num_bytes >= MIN_REPEATED_BYTES else None
    if cause is None:
        return None
    if is_other_root:
        return Break(Place(0, later.prompt.kinds[0], 0, 0), cause, num_bytes)
    return Break(place_of(later.prompt, later.chain, position, one, other), cause, num_bytes)


def _repeated(earlier: Views, later: Views, position: int) -> dict[int, int]:
    """What the model wrote behind `position` in both, by hash, and where it stands in the later one."""
    before = earlier.said_since(position)
    return {key: at for key, at in later.said_since(position).items() if key in before}


def _in_head(earlier: Views, later: Views, one: Part, other: Part, repeated_bytes: int) -> Cause | None:
    is_other_root = earlier.prompt.root != later.prompt.root
    cause, is_akin = _root_cause(earlier.prompt.root, later.prompt.root) if is_other_root else _head_cause(one, other)
    before, after = earlier.hashes[earlier.head :], later.hashes[later.head :]
    grows = len(after) > len(before)
    goes_on = after[: len(before)] == before
    # Before the model has answered, only a head that is nearly the same tells a conversation from one that begins alike.
    if is_other_root:
        same_head = earlier.hashes[: earlier.head] == later.hashes[: later.head]
        is_meant = goes_on and (repeated_bytes > 0 or (grows and same_head and earlier.head > 0))
    elif is_akin:
        is_meant = repeated_bytes >= MIN_REPEATED_BYTES or (grows and _begins_alike(earlier, later))
    else:
        is_meant = goes_on and (repeated_bytes > 0 or (grows and _shares_rest_of_head(earlier, later, one.kind, other.kind)))
    return cause if is_meant else None


def _begins_alike(earlier: Views, later: Views) -> bool:
    """Whether the first turn is the same, or spelled otherwise."""
    if earlier.hashes[earlier.head : earlier.head + 1] == later.hashes[later.head : later.head + 1]:
        return True
    one, other = part_at(earlier.prompt, earlier.head), part_at(later.prompt, later.head)
    return one is not None and other is not None and texts.respelling(one.raw, other.raw) is Cause.JSON_SPELLING


def _root_cause(one: bytes, other: bytes) -> tuple[Cause, bool]:
    (api, model), (other_api, other_model) = _api_and_model(one), _api_and_model(other)
    if api != other_api:
        return Cause.API_CHANGED, False
    return (Cause.SALT_CHANGED if model == other_model else Cause.MODEL_CHANGED), False


def _api_and_model(root: bytes) -> tuple[bytes, bytes]:
    """The parts of a root that a dialect writes as `api/length:model...`, the first with no API before it."""
    at = next((at for at, char in enumerate(root) if 0x30 <= char <= 0x39), len(root))
    length, _, rest = root[at:].partition(b":")
    return root[:at], rest[: int(length)] if length.isdigit() else rest


def _head_cause(one: Part, other: Part) -> tuple[Cause, bool]:
    """What changed in the head, and whether the two are the same but for something small."""
    kinds = {one.kind, other.kind}
    if SegmentKind.TEMPLATE in kinds:
        return Cause.TEMPLATE_ARGUMENTS, False
    if SegmentKind.TOOLS in kinds:
        return _tools_cause(one, other) if len(kinds) == 1 else (Cause.TOOLS_CHANGED, False)
    if len(kinds) > 1:
        return Cause.SYSTEM_CHANGED, False
    spelled = texts.respelling(one.raw, other.raw)
    if spelled is not None:
        return spelled, True
    what, is_all = texts.volatile(one.raw, other.raw)
    if what is not None:
        return _SYSTEM[what], is_all or _is_similar(one.raw, other.raw)
    return Cause.SYSTEM_CHANGED, _is_similar(one.raw, other.raw)


def _tools_cause(one: Part, other: Part) -> tuple[Cause, bool]:
    left, right = texts.decoded(one.raw), texts.decoded(other.raw)
    if isinstance(left, list) and isinstance(right, list):
        before, after = [texts.sorted_json(tool) for tool in left], [texts.sorted_json(tool) for tool in right]
        if before != after and sorted(before) == sorted(after):
            return Cause.TOOL_ORDER, True
        if before == after:
            return texts.respelling(one.raw, other.raw) or Cause.KEY_ORDER, True
        if len(before) != len(after):
            return Cause.TOOLS_CHANGED, not set(before).isdisjoint(after)
    elif (spelled := texts.respelling(one.raw, other.raw)) is not None:
        return spelled, True
    what, is_all = texts.volatile(one.raw, other.raw)
    if what is not None and is_all:
        return Cause.VOLATILE_TOOLS, True
    return (texts.respelling(one.raw, other.raw) or Cause.TOOLS_CHANGED), _is_similar(one.raw, other.raw)


def _shares_rest_of_head(earlier: Views, later: Views, *kinds: SegmentKind) -> bool:
    """Whether the heads agree in all but the kinds that changed, and in tools or a system prompt at least."""
    left, right = (
        [view.hashes[at] for at in range(view.head) if view.prompt.kinds[at] not in kinds] for view in (earlier, later)
    )
    return left == right and any(
        earlier.prompt.kinds[at] in {SegmentKind.TOOLS, SegmentKind.SYSTEM} and earlier.prompt.kinds[at] not in kinds
        for at in range(earlier.head)
    )


def _in_turns(earlier: Views, later: Views, one: Part, other: Part, repeated_bytes: int) -> Cause | None:
    is_kept = repeated_bytes >= MIN_REPEATED_BYTES
    grows = len(later.hashes) > len(earlier.hashes)
    is_first_turn = one.first == earlier.head
    if one.kind is other.kind:
        is_alike = is_kept or grows
        spelled = texts.respelling(one.raw, other.raw)
        if spelled is not None:
            return spelled if is_alike else None
        if one.kind is SegmentKind.ASSISTANT and _lost_reasoning(one.raw, other.raw):
            return Cause.DROPPED_REASONING
        if is_kept and (left_out := _left_out(earlier, later, one, other)) is not None:
            return left_out
        what, is_all = texts.volatile(one.raw, other.raw)
        if what is not None and is_all and (is_kept or (grows and what is not Volatile.NUMBER)):
            return Cause.VOLATILE_TURN
        piece = _piece_between(one.raw, other.raw)
        if piece is not None and is_alike and len(piece) <= MAX_NOTE_BYTES and texts.holds_volatile(piece):
            return Cause.VOLATILE_TURN
        if piece is not None and grows and not is_first_turn:
            return _edited(one)
    if not is_kept:
        return None
    return _left_out(earlier, later, one, other) or _edited(one)


def _left_out(earlier: Views, later: Views, one: Part, other: Part) -> Cause | None:
    """What it is called that turns of the earlier prompt are missing in the later one; None where none are."""
    before = {key: at for at, key in reversed(list(enumerate(earlier.hashes))) if at >= one.first}
    for at in range(other.first, len(later.hashes)):
        stood = before.get(later.hashes[at])
        if stood is None or (later.prompt.kinds[at] is not SegmentKind.ASSISTANT and at != other.first):
            continue
        if stood - one.first <= at - other.first:
            return None
        gone = earlier.prompt.raws[one.first : stood] if at == other.first else ()
        is_reasoning = bool(gone) and all(texts.is_reasoning_item(bytes(raw)) for raw in gone)
        return Cause.DROPPED_REASONING if is_reasoning else Cause.TRUNCATED_HISTORY
    return None


def _edited(one: Part) -> Cause:
    return Cause.EDITED_TOOL_RESULT if one.kind is SegmentKind.TOOL else Cause.EDITED_TURN


def _lost_reasoning(one: bytes, other: bytes) -> bool:
    before, after = texts.decoded(one), texts.decoded(other)
    if before is None or after is None or len(other) >= len(one):
        return False
    return bool(texts.without_reasoning(before) == texts.without_reasoning(after))


def _piece_between(one: bytes, other: bytes) -> bytes | None:
    """The piece by which one text is longer than the other, which is else the same; None where they differ otherwise."""
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    start = texts.common_prefix(longer, shorter)
    end = texts.common_suffix(longer, shorter, len(shorter) - start)
    # The end of a JSON text alone ('"}') is no sign that the rest is one text.
    if start + end < len(shorter) or start + end < MIN_SHARE * len(shorter) or len(shorter) == len(longer):
        return None
    return longer[start : len(longer) - end]


def _is_similar(one: bytes, other: bytes) -> bool:
    start = texts.common_prefix(one, other)
    end = texts.common_suffix(one, other, min(len(one), len(other)) - start)
    return start + end >= MIN_SHARE * max(len(one), len(other))
