"""A batch of KV events in pieces small enough to be applied in one turn of the loop; pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from turnwise.events import BlocksCleared, BlocksStored, EventBatch, KvEvent

MAX_BLOCKS = 128
"""Blocks applied before the loop may serve others: about 0.1 ms of work."""


def num_blocks(batch: EventBatch) -> int:
    """Blocks that a batch stores and removes; at least 1, since a batch of none is work too."""
    return sum([1 if isinstance(event, BlocksCleared) else len(event.hashes) for event in batch.events]) or 1


def pieces(batch: EventBatch) -> Iterator[EventBatch]:
    """The events of `batch` in their order, at most `MAX_BLOCKS` blocks a piece.

    A long event is continued: the parent of each part is the last block of the part before, each part bears the stamp, and only
    the first is the head of a prompt. So whoever looks between two pieces sees what the engine held a moment before.
    """
    taken: list[KvEvent] = []
    room = MAX_BLOCKS
    for event in batch.events:
        for part in _parts(event, room):
            size = 1 if isinstance(part, BlocksCleared) else len(part.hashes)
            if size > room:
                yield EventBatch(batch.sequence, batch.rank, tuple(taken), batch.published_at)
                taken, room = [], MAX_BLOCKS
            taken.append(part)
            room -= size
    # What could not be read may have been anywhere in it, so that is for the last.
    yield msgspec.structs.replace(batch, events=tuple(taken))


def _parts(event: KvEvent, room: int) -> Iterator[KvEvent]:
    """The event itself where one piece can hold it, else parts of it, the first of which fills `room`."""
    if isinstance(event, BlocksCleared) or len(event.hashes) <= MAX_BLOCKS:
        yield event
        return
    hashes = event.hashes
    start, end = 0, room or MAX_BLOCKS
    while start < len(hashes):
        part = hashes[start:end]
        if start and isinstance(event, BlocksStored):
            yield msgspec.structs.replace(event, hashes=part, parent=hashes[start - 1], head_key=None)
        else:
            yield msgspec.structs.replace(event, hashes=part)
        start, end = end, end + MAX_BLOCKS
