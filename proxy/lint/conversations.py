"""Which call follows which: the last prompt of each line of a conversation, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from weakref import ref

from turnwise.proxy.lint.causes import Cause
from turnwise.proxy.lint.compare import Views
from turnwise.proxy.lint.template import Counted
from turnwise.types import Digest, Prompt, PromptChain

MAX_LINES = 64
"""Lines of one first key: the sub-agents of a session, or the users of an app who begin with the same words."""

MAX_SHARED = 16
"""Lines of one further key: the newest conversations of an app, which have one head."""

BYTES_PER_SEGMENT = 320
"""Of a kept prompt beside its text: a view and its slot (about 200), digest and end (about 90), as tracemalloc has it."""

BYTES_PER_LINE = 1024
"""Of a line itself: its slots, its keys, and its places in lists and dicts, as tracemalloc has it."""

Key = str | int | bytes


class Line:
    """The newest prompt of one conversation, or of one branch of it."""

    __slots__ = (
        "__weakref__",
        "_views",
        "chain",
        "counted",
        "keys",
        "last",
        "name",
        "num_bytes",
        "num_segments",
        "parent",
        "prompt",
        "said",
    )

    def __init__(self, name: str, keys: tuple[Key, ...], parent: Line | None = None) -> None:
        self.name = name
        self.keys = keys
        self.parent = None if parent is None else ref(parent)
        """The line that this one broke, as long as it is followed: forgotten once this one goes on, or is broken itself."""
        self.said: dict[Cause, float] = {} if parent is None else parent.said
        """When each cause was last worth a line of log."""
        self.num_bytes = self.num_segments = 0
        self.counted = Counted()
        """How many tokens its newest prompt has, and how it grew to them."""

    def hold(self, prompt: Prompt, chain: PromptChain, tokens: int | None, num_bytes: int, views: Views | None = None) -> None:
        """Let `prompt` be the newest; `views` where they were made already."""
        before = self.counted.tokens
        self.counted = Counted(tokens) if before is None else Counted(tokens, self.num_segments, before)
        self.prompt, self.chain, self.num_bytes = prompt, chain, num_bytes
        self.num_segments = len(chain.digests)
        self.last: Digest = chain.digests[-1]
        self._views = views

    @property
    def views(self) -> Views:
        """The prompt as the comparison reads it, made when first asked for."""
        if self._views is None:
            self._views = Views.of(self.prompt, self.chain)
        return self._views


class Conversations:
    """Lines by key, the least recently used forgotten where they take more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._lines: OrderedDict[Line, None] = OrderedDict()
        self._by_key: dict[Key, list[Line]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def extended_by(self, key: Key, chain: PromptChain) -> Line | None:
        """The line whose prompt `chain` begins with, if there is one: the longest, for others may begin with the same words."""
        lines = self._by_key.get(key)
        if lines is None:
            return None
        digests = chain.digests
        at_most, at_least = len(digests), 0
        found: Line | None = None
        for line in lines:
            if at_least < line.num_segments <= at_most and digests[line.num_segments - 1] == line.last:
                found, at_least = line, line.num_segments
        return found

    def of(self, keys: tuple[Key, ...]) -> Iterator[Line]:
        """The lines of these keys, each once, those of the first key first and the newest first."""
        seen: set[Line] = set()
        for key in keys:
            for line in reversed(self._by_key.get(key, ())):
                if line not in seen:
                    seen.add(line)
                    yield line

    def update(self, line: Line, prompt: Prompt, chain: PromptChain, tokens: int | None, num_bytes: int) -> None:
        """The line goes on with `prompt`, which takes `num_bytes`."""
        self.num_bytes += num_bytes - line.num_bytes
        line.hold(prompt, chain, tokens, num_bytes)
        self._lines.move_to_end(line)
        if line.parent is not None:
            self._forget_parent(line)
        if self.num_bytes > self.max_bytes:
            self._make_room()

    def begin(self, line: Line) -> None:
        """Follow a new line that holds its first prompt."""
        if line.parent is not None and (parent := line.parent()) is not None:
            self._forget_parent(parent)
        self._lines[line] = None
        self.num_bytes += line.num_bytes
        for key in line.keys:
            lines = self._by_key.setdefault(key, [])
            lines.append(line)
            if key == line.keys[0]:
                if len(lines) > MAX_LINES:
                    self.forget(lines[0])
            elif len(lines) > MAX_SHARED:
                del lines[0]  # it keeps the key, under which it is found no more
        if self.num_bytes > self.max_bytes:
            self._make_room()

    def forget(self, line: Line) -> None:
        """Follow a line no longer; one that is not followed is ignored."""
        if line not in self._lines:
            return
        del self._lines[line]
        self.num_bytes -= line.num_bytes
        for key in line.keys:
            lines = self._by_key.get(key)
            if lines is not None and line in lines:
                lines.remove(line)
                if not lines:
                    del self._by_key[key]

    def _forget_parent(self, line: Line) -> None:
        parent = None if line.parent is None else line.parent()
        line.parent = None
        if parent is not None:
            self.forget(parent)

    def _make_room(self) -> None:
        while self.num_bytes > self.max_bytes:
            self.forget(next(iter(self._lines)))
