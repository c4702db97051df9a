"""What proxies have told of tool calls: synchronous, bounded, and every place in a turn is used once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from turnwise.tools_gateway.messages import Announced, How
from turnwise.tools_gateway.runs.run import Follower, Run
from turnwise.tools_gateway.runs.values import CallKey
from turnwise.tools_gateway.values import Credential, Principal, Tool

MAX_CALLS = 128
"""Tool calls of one turn; of those behind it nothing is kept, so they run when they are asked for."""

MAX_TURNS = 4096
"""Turns of one proxy; a further one ends the oldest, which its proxy must have lost."""

MAX_ENDED = 16_384
"""Turns that are remembered to have ended: what is told of them again, by whichever proxy, is nothing new."""

MAX_OPEN_S = 1800.0
"""Longest turn; of a longer one nothing is kept."""


class Announcement:
    """One tool call that a model writes, or has written."""

    __slots__ = (
        "_followed",
        "_follower",
        "claimed_at",
        "credential",
        "has_ended",
        "held_bytes",
        "how",
        "is_budgeted",
        "is_void",
        "key",
        "principal",
        "record",
        "run",
        "told",
        "tool",
        "turn",
        "verdict",
    )

    def __init__(self, turn: Turn, told: Announced, principal: Principal) -> None:
        self.turn = turn
        self.told = told
        self.principal = principal
        self.tool: Tool | None = None
        """None where the gateway has none of this name: the agent runs it itself, with what effect nobody knows."""
        self.credential: Credential | None = None
        self.key: CallKey | None = None
        """None until its arguments have closed and hold."""
        self.run: Run | None = None
        """Its early run, until that is given out, void, or of no use to an agent."""
        self.record = ""
        """Of the early run in the audit, until its result is given out."""
        self.has_ended = False
        """Whether the audit has the end of its early run."""
        self.is_budgeted = False
        """Whether its early run counts against its tenant's budget."""
        self.held_bytes = 0
        """Of the result that waits for an agent."""
        self.verdict: asyncio.Future[None] | None = None
        """Done when its turn has ended, where an agent waits for that."""
        self.how = How.ASKED
        self.claimed_at: float | None = None
        self.is_void = False
        self._followed: Run | None = None
        self._follower: Follower | None = None

    @property
    def is_open(self) -> bool:
        """Whether an agent's call may still take it."""
        return not self.is_void and self.claimed_at is None

    def follow(self, run: Run, follower: Follower) -> None:
        """Have `follower` told of one run from now on, and of no other."""
        self.unfollow()
        self._followed, self._follower = run, follower
        run.follow(follower)

    def unfollow(self) -> None:
        """Have nobody told any more."""
        if self._followed is not None and self._follower is not None:
            self._followed.unfollow(self._follower)
        self._followed = self._follower = None


class Turn:
    """The tool calls of one answer of a model."""

    __slots__ = ("announcements", "id", "opened_at", "settled_at", "source")

    def __init__(self, turn_id: str, source: object, now: float) -> None:
        self.id = turn_id
        self.source = source
        self.opened_at = now
        self.settled_at: float | None = None
        """When it ended cleanly; a turn that did not is no longer kept."""
        self.announcements: dict[int, Announcement] = {}

    def before(self, index: int) -> Iterator[Announcement | None]:
        """The calls before one; None for each that nobody told of."""
        return (self.announcements.get(each) for each in range(index))


class Turns:
    """All turns of all proxies."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}
        self._sources: dict[object, OrderedDict[str, Turn]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._by_key: dict[CallKey, list[Announcement]] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[Turn]:
        return iter(tuple(self._turns.values()))

    def of(self, source: object) -> list[Turn]:
        """The turns of one proxy, oldest first."""
        return list(self._sources.get(source, {}).values())

    def crowded_out(self, source: object, told: Announced) -> Turn | None:
        """The turn whose place a new one of this proxy would take; None while there is room, and where none begins."""
        turns = self._sources.get(source, OrderedDict())
        return next(iter(turns.values())) if len(turns) >= MAX_TURNS and self._begins(told) else None

    def announce(self, source: object, told: Announced, principal: Principal, now: float) -> Announcement | None:
        """Note a call; None where its turn has ended, is another proxy's, or is full, and where its place is taken."""
        turn = self._turns.get(told.turn)
        if turn is None:
            if not self._begins(told):
                return None
            turn = self._turns[told.turn] = Turn(told.turn, source, now)
            self._sources.setdefault(source, OrderedDict())[told.turn] = turn
        if turn.source is not source or turn.settled_at is not None:
            return None
        if told.index in turn.announcements or not 0 <= told.index < MAX_CALLS:
            return None
        turn.announcements[told.index] = announcement = Announcement(turn, told, principal)
        return announcement

    def find(self, source: object, turn_id: str, index: int) -> Announcement | None:
        """A call of a turn that has not ended, as its own proxy speaks of it."""
        turn = self.find_turn(source, turn_id)
        return turn.announcements.get(index) if turn is not None else None

    def find_turn(self, source: object, turn_id: str) -> Turn | None:
        """A turn that has not ended, as its own proxy speaks of it."""
        turn = self._turns.get(turn_id)
        return turn if turn is not None and turn.source is source and turn.settled_at is None else None

    def fill(self, announcement: Announcement, key: CallKey) -> None:
        """Its arguments are known: an agent's equal call may take it."""
        announcement.key = key
        self._by_key.setdefault(key, []).append(announcement)

    def take(self, key: CallKey, now: float) -> Announcement | None:
        """Give an agent's call its announcement, which nobody else gets then: the oldest.

        Those whose turns ended cleanly come before those whose turns go on: an agent asks when its own turn has ended, and must
        not wait for a sibling's.
        """
        known = self._by_key.get(key, ())
        announcement = min(known, key=lambda each: each.turn.settled_at is None, default=None)
        if announcement is not None:
            self.claim(announcement, now)
        return announcement

    def claim(self, announcement: Announcement, now: float) -> None:
        """An agent's call has it, since `now`."""
        announcement.claimed_at = now
        self._unfile(announcement)

    def give_back(self, announcement: Announcement) -> None:
        """An agent's call had it and leaves it to another: it is in front of its equals again."""
        announcement.claimed_at = None
        if announcement.key is not None:
            self._by_key.setdefault(announcement.key, []).insert(0, announcement)

    def withdraw(self, announcement: Announcement) -> None:
        """No agent's call may take it any more."""
        announcement.is_void = True
        self._unfile(announcement)

    def end(self, turn: Turn) -> None:
        """Keep nothing of a turn but that it was; its calls have been taken or withdrawn."""
        for announcement in turn.announcements.values():
            self._unfile(announcement)
        del self._turns[turn.id]
        turns = self._sources[turn.source]
        del turns[turn.id]
        if not turns:
            del self._sources[turn.source]
        self._ended[turn.id] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def _begins(self, told: Announced) -> bool:
        """Whether it is the first word of a turn: none of one that goes on, nor late word of one that has ended."""
        return told.turn not in self._turns and told.turn not in self._ended and 0 <= told.index < MAX_CALLS

    def _unfile(self, announcement: Announcement) -> None:
        known = self._by_key.get(announcement.key) if announcement.key is not None else None
        if known is not None and announcement in known:
            known.remove(announcement)
            if not known:
                del self._by_key[announcement.key]  # type: ignore[arg-type]  # it was found by it
