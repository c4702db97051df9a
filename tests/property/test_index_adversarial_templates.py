"""Templates that render a prompt otherwise than its digests lead one to believe: no wrong chain is believed twice."""

from collections import OrderedDict

import msgspec
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.events import BlocksRemoved, BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report, prompt_chain
from turnwise.settings import IndexSettings
from turnwise.types import BLOCK_HASH_MASK, Answer, HitSource, LastAnswer, Prompt, Segment, SegmentKind

BLOCK = 4
LATE = 1_000_000.0
KINDS = {
    "tools": SegmentKind.TOOLS,
    "system": SegmentKind.SYSTEM,
    "user": SegmentKind.USER,
    "assistant": SegmentKind.ASSISTANT,
    "tool": SegmentKind.TOOL,
}


class Message(msgspec.Struct, frozen=True):
    """A turn, or what stands before the turns."""

    role: str
    text: str
    reasoning: str = ""


def tokens_of(text):
    return [f"{word}.{part}" for word in text.split(" ") for part in range(1 + len(word) % 2)]


def turn(message, text):
    return [f"<{message.role}>", *tokens_of(text), "<end>"]


def thought(message):
    return f"<think> {message.reasoning} </think> {message.text}" if message.reasoning else message.text


def faithful(messages, day):
    """All that was said, as it was said."""
    return [token for message in messages for token in turn(message, thought(message))]


def drops_old_reasoning(messages, day):
    """Reasoning before the last user turn is not shown."""
    last_user = max((at for at, message in enumerate(messages) if message.role == "user"), default=0)
    shown = [message.text if at < last_user else thought(message) for at, message in enumerate(messages)]
    return [token for message, text in zip(messages, shown, strict=True) for token in turn(message, text)]


def drops_all_reasoning(messages, day):
    """Reasoning is never shown again, not even that of the turn before."""
    return [token for message in messages for token in turn(message, message.text)]


def dates_the_system_prompt(messages, day):
    """What day it is stands before everything; a day is one token, so lengths tell nothing."""
    return [f"day{day}", *faithful(messages, day)]


def tools_after_system(messages, day):
    """The tools, first of the segments, are written behind the system prompt."""
    tools = [message for message in messages if message.role == "tools"]
    system = [message for message in messages if message.role == "system"]
    return faithful([*system, *tools, *(message for message in messages if message.role not in {"tools", "system"})], day)


def trims(messages, day):
    """White space at the ends of a turn is dropped once another follows."""
    shown = [message.text.strip() if at < len(messages) - 1 else message.text for at, message in enumerate(messages)]
    return [token for message, text in zip(messages, shown, strict=True) for token in turn(message, text)]


TEMPLATES = [
    faithful,
    drops_old_reasoning,
    drops_all_reasoning,
    dates_the_system_prompt,
    tools_after_system,
    trims,
]
PROMPT_ENDS = ["<assistant>"]
"""What invites the answer: the generation prompt of a template."""


def hashes(tokens):
    running, found = 0, []
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        running = xxhash.xxh3_64_intdigest("\0".join(tokens[end - BLOCK : end]).encode(), running) & BLOCK_HASH_MASK
        found.append(running)
    return found


def says(message):
    return Answer(*(xxhash.xxh3_64_intdigest(part.encode()) if part else 0 for part in (message.text, "", message.reasoning)))


def chain_of(messages):
    raws = (Segment(KINDS[message.role], repr(message).encode()) for message in messages)
    chain = prompt_chain(Prompt.of(b"m", raws))
    last = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=None)
    if last is None:
        return chain
    return msgspec.structs.replace(chain, answer=LastAnswer(last, last, says(messages[last])))


class Engine:
    """A prefix cache, least recently used and tail first, that renders by a template."""

    def __init__(self, template, num_blocks):
        self.template = template
        self.num_blocks = num_blocks
        self.cache = OrderedDict()
        self.day = 0

    def tokens(self, messages):
        return [*self.template(messages, self.day), *PROMPT_ENDS]

    def answer(self, call_id, messages, answer):
        """Serve a prompt; returns its events, its tokens, how many of them were cached, and how many were generated."""
        prompt = self.tokens(messages)
        generated = [*tokens_of(thought(answer)), "<end>"]
        blocks = hashes([*prompt, *generated[:-1]])
        limit = (len(prompt) - 1) // BLOCK
        cached = next((depth for depth, block in enumerate(blocks[:limit]) if block not in self.cache), limit)
        new = next((depth for depth, block in enumerate(blocks) if block not in self.cache), len(blocks))
        events = []
        if new < len(blocks):
            parent = blocks[new - 1] if new else None
            events.append(BlocksStored(hashes=tuple(blocks[new:]), parent=parent, block_size=BLOCK, call_id=call_id))
        for block in reversed(blocks):
            self.cache[block] = None
            self.cache.move_to_end(block)
        while len(self.cache) > self.num_blocks:
            gone, _ = self.cache.popitem(last=False)
            events.append(BlocksRemoved(hashes=(gone,)))
        return events, len(prompt), cached * BLOCK, len(generated)


class World:
    """One engine, and the index that follows it; notes each wrong belief."""

    def __init__(self, template, num_blocks=10_000):
        self.engine = Engine(template, num_blocks)
        self.index = KvIndex(IndexSettings(predicted_ttl_s=1.0, unconfirmed_ttl_s=1.0))
        self.index.add_replica("r", DomainKey("m", BLOCK, "x"), num_blocks=100_000, has_events=True)
        self.refuted = set()
        """What was believed by the engine's word and was wrong: the digest that it was known of, whether the prompt ended there
        or went on, and the chain."""
        self.lessons = []

    def call(self, number, messages, answer, *, is_late):
        chain = chain_of(messages)
        hit = self.index.residency(chain, ["r"], LATE).hits["r"]
        if hit.source is HitSource.CONFIRMED:
            self.check(chain, messages)
        events, num_tokens, cached, num_generated = self.engine.answer(f"c{number}", messages, answer)
        batch = EventBatch(sequence=number, rank=0, events=tuple(events))
        if not is_late:
            self.index.apply("r", batch, 0.0)
        report = Report(num_tokens, cached, num_generated, says(answer))
        self.lessons.append(self.index.settle(f"c{number}", chain, "r", report, 0.0))
        if is_late:
            self.index.apply("r", batch, 0.0)

    def check(self, chain, messages):
        domain = self.index._replicas["r"].domain
        known = domain.resolve(chain)
        believed = tuple(known.chain.blocks[: known.taught_blocks])
        of = max(at for at, digest in enumerate(chain.digests) if digest in domain.evidence.entries)
        belief = (chain.digests[of], of == len(chain.digests) - 1, believed)
        assert belief not in self.refuted
        if list(believed) != hashes(self.engine.tokens(messages))[: len(believed)]:
            self.refuted.add(belief)


words = st.sampled_from(["a", "bb", "ccc", " dddd", "eeeee ", "one two three", "  ffffff  "])
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["user", "user", "tool", "tool", "branch", "repeat", "midnight"]),
        words,
        words,
        st.booleans(),
    ),
    max_size=30,
)


def play(world, calls):
    """Sessions that answer, grow, ask again and live through midnight."""
    sessions = {}
    for number, (session, step, text, reasoning, is_late) in enumerate(calls):
        messages, answer = sessions.get(session, ([], None))
        if step == "midnight":
            world.engine.day += 1
        if not messages:
            messages = [Message("tools", f"tools {session % 2}"), Message("system", "you help people"), Message("user", text)]
        elif step == "branch":  # the last turn is taken back
            messages = [*messages[:-1], Message("user", f"n{number} {text}")]
        elif step != "repeat":
            messages = [*messages, answer, Message("tool" if step == "tool" else "user", f"n{number} {text}")]
        answer = Message("assistant", f"a{number} {text}", f"because {reasoning} n{number}")
        world.call(number, messages, answer, is_late=is_late)
        sessions[session] = (messages, answer)


@pytest.mark.parametrize("template", TEMPLATES)
@given(calls=steps, num_blocks=st.sampled_from([10_000, 60]))
@settings(deadline=None, max_examples=80)
def test_a_chain_that_was_wrong_of_a_prompt_is_not_believed_of_it_again(template, calls, num_blocks):
    play(World(template, num_blocks), calls)


@pytest.mark.parametrize("template", [faithful, tools_after_system])
@given(calls=steps)
@settings(deadline=None, max_examples=80)
def test_a_template_that_only_adds_is_never_contradicted_and_its_answers_join(template, calls):
    world = World(template)
    play(world, calls)
    stats = world.index.stats()
    assert not world.refuted
    assert stats.num_contradicted == stats.num_templates_whole_only == 0
    assert not any("broken" in fates for fates in stats.answers.values())


@pytest.mark.parametrize(
    ("template", "expected"),
    [(drops_old_reasoning, "contradicted"), (dates_the_system_prompt, "contradicted"), (drops_all_reasoning, "broken")],
)
def test_an_adversary_is_found_out(template, expected):
    world = World(template)
    steps = ["user", "tool", "tool", "user", "midnight", "tool", "user", "tool", "midnight", "user"]
    play(world, [(0, step, "one two three", "bb ccc", False) for step in steps])
    stats = world.index.stats()
    if expected == "broken":
        assert {kind: set(fates) for kind, fates in stats.answers.items()} == {"reasoning": {"broken"}}
    else:
        assert stats.num_contradicted > 0
        assert all(
            lesson.broke_at is not None and lesson.lost_tokens > 0 for lesson in world.lessons if lesson.is_contradiction
        )
