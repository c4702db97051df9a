"""Which call a call follows: told by digests of prompts, of one tenant, without any text.

The continuing call costs two lookups. What is looked for further only where these find nothing: an earlier prompt that this one
extends, the same turns under another head, an open tool call whose result it brings or whose argument it quotes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import msgspec
from xxhash import xxh3_64_intdigest

from turnwise.dialects import Dialect
from turnwise.proxy.programs.fitting import fitting, said_of, tried
from turnwise.proxy.programs.lines import RETRY, SPAWN, Node
from turnwise.proxy.programs.values import LinkKind
from turnwise.turns import ToolCall
from turnwise.types import Digest, LastAnswer, Prompt, PromptChain, SegmentKind

MAX_TWINS = 64
"""Calls kept that have one prompt, or one hash of turns, or share an id or a quote of a tool call: the newest."""

MAX_LOOKED_BACK = 256
"""Segments from the end of a prompt at which an earlier prompt is looked for."""

HEAD = frozenset({SegmentKind.TEMPLATE, SegmentKind.TOOLS, SegmentKind.SYSTEM})
"""What stands before the turns of a conversation."""

CONTINUE, REWRITE = LinkKind.CONTINUE, LinkKind.REWRITE
ASSISTANT = SegmentKind.ASSISTANT

_NAMED_STATE = "="
"""Stands before the name of a conversation, which is no id of an answer."""

_Quoted = tuple[Node, str]
_Key = TypeVar("_Key", bound=Hashable)
_Entry = TypeVar("_Entry")


class Found(msgspec.Struct, frozen=True, gc=False):
    """What a call follows, and how."""

    kind: LinkKind
    node: Node
    num_known: int = 0
    """Segments that its prompt has in common with the other's, from the first on."""
    tool: str = ""
    """Id of the tool call that spawned it."""


class Lineage:
    """The calls of one tenant that can be followed; forgets them when told to."""

    __slots__ = ("_by_prompt", "_by_quote", "_by_state", "_by_tool", "_by_turns")

    def __init__(self) -> None:
        self._by_prompt: dict[Digest, Node | list[Node]] = {}
        self._by_turns: dict[int, Node | list[Node]] = {}
        self._by_state: dict[str, Node | list[Node]] = {}
        self._by_tool: dict[str, Node | list[Node]] = {}
        self._by_quote: dict[int, _Quoted | list[_Quoted]] = {}

    def find(
        self,
        prompt: Prompt,
        chain: PromptChain,
        results: Sequence[str],
        continues: Sequence[str],
        dialect: Dialect,
        now: float,
        is_retry: bool,  # noqa: FBT001 - by name it would take twice as long
    ) -> Found | None:
        """What a call of this prompt follows; None where nothing tells, or several could be meant and nothing tells them apart.

        `results` are ids of the tool calls whose results are new in it, `continues` those of state that it goes on from, and
        `dialect` tells what its first user turn says.
        """
        digests, answer, by_prompt = chain.digests, chain.answer, self._by_prompt
        if digests[-1] in by_prompt:
            failed = tried(_all(self._by_prompt, digests[-1]), now, is_retry=is_retry)
            if failed is not None:
                return Found(RETRY, failed, len(digests))
        if continues:
            for state in continues:
                stored = _all(self._by_state, state) or _all(self._by_state, _NAMED_STATE + state)
                if stored:
                    return Found(CONTINUE, stored[-1])
        if answer is None:
            found = self._extended(digests, None) or (self._answered(CONTINUE, 0, results) if results else None)
            return found or (self._spawner(dialect.quotes(prompt)) if self._by_quote else None)
        first = answer.first
        if first:
            before = digests[first - 1]
            only = by_prompt.get(before)
            if type(only) is Node and not only.tools and not only.is_continued:  # there is nothing to choose from
                return Found(CONTINUE, only, first, "")
            caller = self.caller(results[0]) if results else None
            if caller is not None and caller.prompt == before:
                return Found(CONTINUE, caller, first)
            nodes = fitting(_all(by_prompt, before), said_of(answer.said), results)
            if nodes:
                return Found(CONTINUE, nodes[0], first) if len(nodes) == 1 else None
        return (
            self._answered(REWRITE, said_of(answer.said), results)
            or self._extended(digests, answer)
            or self._rewritten(prompt, answer)
            or (self._spawner(dialect.quotes(prompt)) if self._by_quote else None)
        )

    def hashes(self, prompt: Prompt, found: Found | None, is_opening: bool) -> tuple[int, int]:  # noqa: FBT001 - as of `find`
        """`Node.turns` and `Node.turns_key` of a call that follows `found`."""
        kinds, raws, at, turns = prompt.kinds, prompt.raws, 0, 0
        if found is not None and found.kind is CONTINUE and found.num_known:
            at, turns = found.num_known, found.node.turns
            raws = raws[at:]
        key = turns
        for raw in raws:
            kind = kinds[at]
            at += 1
            if turns or kind not in HEAD:
                turns = xxh3_64_intdigest(raw, turns)
                if kind is ASSISTANT:
                    key = turns
        # Clients put answers of their own into openings: that one was given is known only where a call was gone on from.
        return turns, turns if is_opening else key

    def add(self, node: Node, continues: Sequence[str]) -> None:
        """Let a call be followed, which goes on from state of the names `continues`."""
        if self._by_prompt.setdefault(node.prompt, node) is not node:
            _add(self._by_prompt, node.prompt, node)
        if self._by_turns.setdefault(node.turns_key, node) is not node:
            _add(self._by_turns, node.turns_key, node)
        if continues:
            self._named(node, continues)

    def _named(self, node: Node, states: Sequence[str]) -> None:
        for state in states:
            # No answer has this id: it is that of a conversation, which goes on from its newest call.
            if state not in self._by_state:
                self.stored(node, _NAMED_STATE + state)

    def answered(self, node: Node, tools: tuple[ToolCall, ...]) -> None:
        """A call has called tools: wait for their results, and for conversations that they begin."""
        node.tools = tools
        for tool in tools:
            if tool.id:
                _add(self._by_tool, tool.id, node)
            for quote in tool.quotes:
                _add(self._by_quote, quote, (node, tool.id))

    def stored(self, node: Node, state: str) -> None:
        """Let a call be followed by the name of state that is kept elsewhere."""
        if not node.stored_as:
            node.stored_as = state
            _add(self._by_state, state, node)

    def caller(self, tool_call_id: str) -> Node | None:
        """The one call that waits for the result of this tool call; None where none does, or several do."""
        known = self._by_tool.get(tool_call_id)
        if isinstance(known, list):
            return known[0] if len(known) == 1 else None
        return known

    def callers(self, tool_call_id: str) -> Sequence[Node]:
        """The calls that wait for the result of a tool call of this id: some engines number those of each answer."""
        return _all(self._by_tool, tool_call_id)

    def close(self, node: Node, tool: ToolCall) -> None:
        """The result of a tool call has come, or will not any more."""
        node.tools = () if len(node.tools) == 1 else tuple(other for other in node.tools if other is not tool)
        if tool.id:
            _remove(self._by_tool, tool.id, node)
        for quote in tool.quotes:
            _remove(self._by_quote, quote, (node, tool.id))

    def superseded(self, node: Node) -> None:
        """A call has been continued: its turns under another head are looked for in the one that continues it."""
        key = node.turns_key
        if key:
            if self._by_turns.get(key) is node:
                del self._by_turns[key]
            else:
                _remove(self._by_turns, key, node)
            node.turns_key = 0

    def forget(self, node: Node) -> None:
        """Let a call be followed no longer."""
        if node.tools:
            for tool in node.tools:
                self.close(node, tool)
        if self._by_prompt.get(node.prompt) is node:
            del self._by_prompt[node.prompt]
        else:
            _remove(self._by_prompt, node.prompt, node)
        if node.turns_key:
            self.superseded(node)
        if node.stored_as:
            _remove(self._by_state, node.stored_as, node)
            node.stored_as = ""

    def _extended(self, digests: Sequence[Digest], answer: LastAnswer | None) -> Found | None:
        """The call with the longest prompt that this one begins with.

        Many conversations may open with the same words, so an opening is gone on from only where no answer stands behind it.
        """
        at, by_prompt = len(digests) - 1, self._by_prompt
        if by_prompt.keys().isdisjoint(digests):  # as of most conversations that begin
            return None
        for digest in digests[-2 : -2 - MAX_LOOKED_BACK : -1]:
            at -= 1
            if digest not in by_prompt:
                continue
            known = _all(by_prompt, digest)
            nodes = fitting(known if answer is None else [node for node in known if not node.is_opening], 0, ())
            if nodes:
                return Found(CONTINUE, nodes[0], at + 1) if len(nodes) == 1 else None
        return None

    def _rewritten(self, prompt: Prompt, answer: LastAnswer) -> Found | None:
        """The call most of whose turns this one repeats under another head, an answer among them."""
        turns, is_after_answer = 0, False
        keys: list[int] = []
        for kind, raw in zip(prompt.kinds[: answer.last + 1], prompt.raws, strict=False):
            if kind in HEAD and not turns:
                continue
            is_answer = kind is ASSISTANT
            if turns and is_answer is not is_after_answer:
                keys.append(turns)
            is_after_answer = is_answer
            turns = xxh3_64_intdigest(raw, seed=turns)
        keys.append(turns)
        said = said_of(answer.said)
        for key in reversed(keys[-MAX_LOOKED_BACK:]):
            nodes = _all(self._by_turns, key)
            # Many conversations open with the same words: which of them this one goes on from is told by the answer.
            likely = [node for node in nodes if node.said == said] or [node for node in nodes if not node.is_opening]
            if likely:
                return Found(REWRITE, likely[-1])
        return None

    def _answered(self, kind: LinkKind, said: int, results: Sequence[str]) -> Found | None:
        """The call that waits for one of these results, unless the prompt says that another answer asked for it."""
        for result in results:
            node = self.caller(result)
            if node is not None and (not said or not node.said or node.said == said):
                return Found(kind, node)
        return None

    def _spawner(self, quotes: Sequence[int]) -> Found | None:
        """The call whose tool call this conversation quotes; None where calls are quoted of which none is quoted most."""
        hits: dict[_Quoted, int] = {}
        for quote in quotes:
            for tool in _all(self._by_quote, quote):
                hits[tool] = hits.get(tool, 0) + 1
        if not hits:
            return None
        most = max(hits.values())
        best = [tool for tool, count in hits.items() if count == most]
        node = best[0][0]
        if any(other is not node for other, _ in best):
            return None
        # Of equal calls of one answer, the one that began nothing yet.
        taken = node.spawned or {}
        tool_id = next((tool_id for _, tool_id in best if tool_id not in taken), best[0][1])
        return Found(SPAWN, node, tool=tool_id)


def _add(index: dict[_Key, _Entry | list[_Entry]], key: _Key, entry: _Entry) -> None:
    """Note an entry; hardly any key has several, so one stands by itself."""
    known = index.get(key)
    if known is None:
        index[key] = entry
    elif isinstance(known, list):
        known.append(entry)
        if len(known) > MAX_TWINS:
            del known[0]
    else:
        index[key] = [known, entry]


def _all(index: Mapping[_Key, _Entry | list[_Entry]], key: _Key) -> Sequence[_Entry]:
    """The entries of a key, the newest last."""
    known = index.get(key)
    if known is None:
        return ()
    return known if isinstance(known, list) else (known,)


def _remove(index: dict[_Key, _Entry | list[_Entry]], key: _Key, entry: _Entry) -> None:
    """Take an entry out; one that newer ones pushed out is not there."""
    known = index.get(key)
    if known == entry:
        del index[key]
    elif isinstance(known, list) and entry in known:
        known.remove(entry)
        if not known:
            del index[key]
