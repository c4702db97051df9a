"""What the studies of this folder share: embedded engines behind a proxy in memory, conversations, and a look into both.

All of it runs on a virtual clock, so equal arguments give equal figures on any machine.
"""

from __future__ import annotations

import random
from array import array
from typing import Any, Self

import msgspec

from turnwise.dialects import DIALECTS
from turnwise.engines.sim.api import SimEngine
from turnwise.engines.sim.blocks import BlockOwner, extend_hashes
from turnwise.engines.sim.bodies import ChatBody
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.template import render_chat
from turnwise.engines.sim.tokens import encode, pseudo_sentence
from turnwise.index import prompt_chain
from turnwise.proxy.memory import MemoryProxy, MemorySim
from turnwise.proxy.wire.ports import Origin
from turnwise.settings import IndexSettings, Replica, Settings
from turnwise.types import BLOCK_HASH_MASK, DialectName, HitSource, PromptChain, ReplicaId

MODEL = "sim"
PREDICTED_TTL_S = 60.0
"""Life of predictions here; waiting longer than that leaves what engines confirmed."""

Body = dict[str, Any]
JsonMessage = dict[str, Any]


def settings(num_replicas: int) -> Settings:
    """Replicas r0, r1, ... in memory."""
    replicas = tuple(Replica(url=f"http://sim:{9000 + number}", name=f"r{number}") for number in range(num_replicas))
    return Settings(replicas=replicas, index=IndexSettings(predicted_ttl_s=PREDICTED_TTL_S))


def make_engine(options: SimOptions, number: int) -> MemorySim:
    """One of several engines; they differ in their seeds, and so in their faults."""
    return MemorySim(msgspec.structs.replace(options, seed=options.seed * 1000 + number))


def engines(proxy: MemoryProxy) -> dict[ReplicaId, SimEngine]:
    """The engines behind a proxy, by the replica that each of them is."""
    found: dict[ReplicaId, SimEngine] = {}
    for replica, member in proxy.fleet.members.items():
        engine = proxy.upstream.engines[Origin.of(member.settings.url)]
        assert isinstance(engine, SimEngine)
        found[replica] = engine
    return found


def chain_of(body: Body) -> PromptChain:
    """The prompt chain by which the proxy knows a chat call."""
    prompt = DIALECTS[DialectName.CHAT].read(msgspec.json.encode(body), (), splice_usage=False).prompt
    assert prompt is not None
    return prompt_chain(prompt)


class Placed(msgspec.Struct, frozen=True):
    """The last call that a proxy answered: by what it was placed, and what its engine found, in tokens."""

    replica: ReplicaId
    source: HitSource
    predicted_tokens: int
    prompt_tokens: int
    cached_tokens: int

    @classmethod
    def last(cls, proxy: MemoryProxy) -> Self:
        """As the call's line tells it."""
        line: dict[str, Any] = dict(proxy.recorder.recent[-1])
        return cls(
            replica=line["replica"],
            source=HitSource(line["predicted"]["source"]),
            predicted_tokens=line["predicted"]["cached_tokens"],
            prompt_tokens=line["usage"].prompt_tokens,
            cached_tokens=line["usage"].cached_tokens,
        )


class Words:
    """Texts for conversations, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def text(self, least: int, most: int) -> str:
        """A text of so many words; one in three has space around it, as what people paste has."""
        said = pseudo_sentence(self.rng, self.rng.randint(least, most))
        return f" {said}\n\n" if self.rng.random() < 1 / 3 else said

    def system(self, num_words: int) -> JsonMessage:
        """A system prompt."""
        return {"role": "system", "content": pseudo_sentence(self.rng, num_words)}

    def tools(self, count: int) -> list[Body]:
        """A tool catalogue."""
        schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
        described = [(f"tool{number}", pseudo_sentence(self.rng, 20)) for number in range(count)]
        return [
            {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
            for name, text in described
        ]

    def reply_to(self, message: JsonMessage) -> list[JsonMessage]:
        """What a client adds to its history once the assistant has said `message`: that, and what comes next."""
        said = {name: value for name, value in message.items() if value}
        said["content"] = message.get("content") or ""
        calls = message.get("tool_calls") or ()
        results = [{"role": "tool", "tool_call_id": call["id"], "content": self.text(20, 60)} for call in calls]
        return [said, *(results or [{"role": "user", "content": self.text(10, 40)}])]


def num_held_of(engine: SimEngine, body: Body, now: float) -> int:
    """How many leading full blocks of a chat call's prompt an engine holds."""
    call = msgspec.convert(body, ChatBody)
    core = engine.core.scheduler
    text = render_chat(call.messages, call.tools or (), engine.options.chat_template, now)
    tokens, hashes = encode(text), list[int]()
    extend_hashes(hashes, tokens, core.preset.block_size, BlockOwner(engine.options.model).root)
    return len(core.pool.match(hashes, len(hashes)))


def blocks_of(engine: SimEngine) -> set[int]:
    """All blocks that an engine holds, by hashes as events bring them."""
    return {block_hash & BLOCK_HASH_MASK for block_hash in engine.core.scheduler.pool.hashes}


def num_confirmed(proxy: MemoryProxy, replica: ReplicaId, blocks: set[int]) -> int:
    """How many of `blocks` the index says that `replica` holds."""
    # No caller of the index may ask for a block: it is compared here with what it should hold.
    holdings = proxy.index._replicas[replica]  # noqa: SLF001 - see above
    index, slot = holdings.domain.index, holdings.block_slot
    return sum(bool(index.depths(array("Q", [block]), 1, 1 << slot)) for block in blocks)


def confirmed_depth(proxy: MemoryProxy, replica: ReplicaId, chain: PromptChain) -> int | None:
    """Leading blocks of a prompt that the index says `replica` holds; None where that prompt itself is not taught."""
    holdings = proxy.index._replicas[replica]  # noqa: SLF001 - as above
    known = holdings.domain.resolve(chain)
    if known.chain is None or not known.is_taught or known.anchors[-1:] == () or known.anchors[-1][0] != len(chain.digests) - 1:
        return None
    depths = holdings.domain.index.depths(known.chain.blocks, known.num_blocks, 1 << holdings.block_slot)
    return depths.get(holdings.block_slot, 0)
