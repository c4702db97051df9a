"""The session graph: what blocks calls make, which of them die, and what hints change."""

import pytest
from tests.unit.graph_talk import RATE, begun, ended, outcome, request, said

from turnwise.proxy.programs.graph import BlockKind, Graph, HintReader, Malformed, Rates, Retention, State, blocks, lines
from turnwise.proxy.programs.graph.prompts import prompt_of
from turnwise.proxy.programs.graph.rows import MAX_ROWS, MAX_TOKENS
from turnwise.turns import NO_HINTS, Breakpoint, Hints, ToolCall
from turnwise.types import SegmentKind

SYSTEM, TOOLS, USER, ASSISTANT, TOOL = (SegmentKind(kind) for kind in ("system", "tools", "user", "assistant", "tool"))
HEAD = ((TOOLS, "catalogue"), (SYSTEM, "you are"))
GOAL = (*HEAD, (USER, "the goal"))


class Talk:
    """A graph, and the calls of its agents; a byte is a token, and answers have ten tokens."""

    def __init__(self):
        self.graph = Graph()
        self.reader = HintReader()
        self._turns = {}

    def begin(self, turns, says=None, *, agent=0, hints=NO_HINTS, headers=None, continues=()):
        asked = request(turns, says, hints=hints, continues=continues)
        number = self._turns[agent] = self._turns.get(agent, -1) + 1
        self.graph.begin(begun(asked, agent, number, self.reader.read(headers or {}, hints, asked.prompt)), RATE)
        return agent, number, sum(len(text) for _, text in turns)

    def settle(self, call, answer=None, tools=(), *, tokens=10, **options):
        agent, number, size = call
        self.graph.settle(ended(agent, number, outcome(size, tokens, answer, tools, **options)), RATE)

    def call(self, turns, answer, says=None, *, tools=(), **options):
        self.settle(self.begin(turns, says, **options), answer, tools)

    def kinds(self, state=None):
        return [block.kind.value for block in blocks(self.graph) if state is None or block.state is state]

    def tokens(self):
        return [block.tokens for block in blocks(self.graph)]


@pytest.fixture
def talk():
    return Talk()


def test_a_prompt_and_its_answer_are_typed_blocks_whose_tokens_are_the_engines(talk):
    tool = ToolCall("call_1", "search", num_bytes=16)
    talk.call(GOAL, said("let me see", "search", "hm"), tools=(tool,))
    assert talk.kinds() == ["tools", "system", "user", "reasoning", "assistant", "tool_call"]
    *prompt, reasoning, text, call = talk.tokens()
    assert sum(prompt) == len("catalogue" + "you are" + "the goal")
    assert (call, reasoning + text) == (4, 6)


@pytest.mark.parametrize(("visible_at", "reasoning"), [(1.0, 0), (1.5, 5), (2.0, 10), (None, 5), (99.0, 10)])
def test_reasoning_has_the_share_of_an_answer_that_it_took_of_the_time(talk, visible_at, reasoning):
    talk.settle(talk.begin(GOAL), said("so", reasoning="hm"), visible_at=visible_at)
    assert talk.tokens()[-2:] == [reasoning, 10 - reasoning]


def test_what_is_new_of_the_next_prompt_is_added_behind_the_answer_that_it_repeats(talk):
    first = said("ok", "search")
    talk.call(GOAL, first, tools=(ToolCall("1", "search", 8), ToolCall("2", "search", 8)))
    turns = (*GOAL, (ASSISTANT, "ok search se"), (TOOL, "one"), (TOOL, "two"))
    talk.call(turns, said("done"), first)
    assert talk.kinds() == [
        "tools",
        "system",
        "user",
        "assistant",
        "tool_call",
        "tool_call",
        "tool_result",
        "tool_result",
        "assistant",
    ]
    shown = blocks(talk.graph)
    assert [block.parent for block in shown] == [None, 0, 1, 2, 3, 4, 5, 6, 7]
    assert [block.turn for block in shown] == [0] * 6 + [1] * 3
    assert sum(block.tokens for block in shown[:-1]) == sum(
        map(len, ["catalogue", "you are", "the goal", "ok search se", "one", "two"])
    )


def test_an_answer_in_more_segments_than_parts_is_claimed_whole(talk):
    first = said("ok", "search", "hm")
    talk.call(GOAL, first)
    items = tuple((ASSISTANT, text) for text in ("hm", "ok", "search", "piece", "piece 2"))
    talk.call((*GOAL, *items, (TOOL, "one")), said("done"), first)
    assert talk.kinds(State.LIVE).count("tool_result") == 1
    again = (*GOAL, *items[:4], (USER, "parts within the answer"))
    depth, _ = talk.graph.rows.known(request(again).chain.digests)
    assert depth == 7


def test_reasoning_that_a_client_leaves_out_is_superseded_and_the_rest_goes_on(talk):
    talk.settle(talk.begin(GOAL), said("ok", reasoning="hm"), visible_at=1.5)
    talk.call((*GOAL, (ASSISTANT, "ok..."), (USER, "more")), said("done"), said("ok"))
    reasoning = next(block for block in blocks(talk.graph) if block.kind is BlockKind.REASONING)
    text = next(block for block in blocks(talk.graph) if block.kind is BlockKind.ASSISTANT)
    assert (reasoning.state, reasoning.retention, text.state) == (State.SUPERSEDED, Retention.EPHEMERAL, State.LIVE)
    assert (text.parent, text.tokens) == (2, 5)


def test_an_answer_that_nobody_could_read_is_what_the_next_prompt_has_in_its_place(talk):
    talk.call(GOAL, None)
    talk.call((*GOAL, (ASSISTANT, "whatever"), (USER, "more")), said("done"), said("whatever"))
    assert talk.kinds() == ["tools", "system", "user", "assistant", "user", "assistant"]
    assert set(talk.kinds(State.LIVE)) == set(talk.kinds())


def test_turns_from_before_the_program_are_one_block_however_many(talk):
    old = tuple((kind, f"{number}") for number in range(100) for kind in (USER, ASSISTANT))
    turns = (*HEAD, *old, (USER, "next goal"))
    talk.call(turns, said("ok"), said("99"))
    assert talk.kinds() == ["tools", "system", "history", "user", "assistant"]
    assert sum(talk.tokens()[:-1]) == sum(len(text) for _, text in turns)
    talk.call((*turns, (ASSISTANT, "ok"), (USER, "more")), said("done"), said("ok"))
    assert talk.kinds() == ["tools", "system", "history", "user", "assistant", "user", "assistant"]


def test_an_answer_that_a_client_changed_is_superseded(talk):
    talk.call(GOAL, said("ok"))
    talk.call((*GOAL, (ASSISTANT, "mine"), (USER, "more")), said("done"), said("mine"))
    assert talk.kinds(State.SUPERSEDED) == ["assistant"]


def test_a_rewritten_head_supersedes_the_old_turns_but_not_the_old_head(talk):
    talk.call(GOAL, said("ok"))
    talk.call(((TOOLS, "catalogue"), (SYSTEM, "it is noon"), (USER, "the goal")), said("ok"))
    assert talk.kinds(State.SUPERSEDED) == ["user", "assistant"]
    (retired,) = talk.graph.take_retired()
    assert (retired.digests, retired.kept) == (request(GOAL).chain.digests, 2)
    assert talk.graph.take_retired() == ()


def test_agents_share_their_beginning_and_part_at_a_branch(talk):
    first = said("ok")
    turns = (*GOAL, (ASSISTANT, "ok"))
    talk.call(GOAL, first)
    talk.call((*turns, (USER, "left")), said("l"), first)
    talk.call((*turns, (USER, "right")), said("r"), first, agent=1)
    assert talk.kinds() == ["tools", "system", "user", "assistant", "user", "assistant", "branch", "user", "assistant"]
    branch = next(block for block in blocks(talk.graph) if block.kind is BlockKind.BRANCH)
    assert (branch.parent, branch.tokens, branch.agent) == (3, 0, 1)


def grow(talk, turns, answer, agent, times):
    """Let an agent go on so many times; gives its turns and its answer."""
    for number in range(times):
        turns = (*turns, (ASSISTANT, "ok"), (USER, f"{agent} {number}"))
        talk.call(turns, said(f"{agent} says {number}"), answer, agent=agent)
        answer = said(f"{agent} says {number}")
    return turns, answer


def forked(talk):
    """Two agents that went on from one answer, each with one call."""
    first = said("ok")
    talk.call(GOAL, first)
    return [grow(talk, GOAL, first, agent, 1) for agent in (0, 1)]


def test_a_branch_that_nobody_continues_while_its_sibling_goes_on_is_dead(talk):
    left, _ = forked(talk)
    grow(talk, *left, 0, 3)
    dead = [(block.kind.value, block.agent) for block in blocks(talk.graph) if block.state is State.DEAD]
    assert dead == [("branch", 1), ("user", 1), ("assistant", 1)]
    (retired,) = talk.graph.take_retired()
    assert (retired.kept, len(retired.digests)) == (4, 5)


def test_a_branch_that_is_running_is_not_dead(talk):
    left, (turns, answer) = forked(talk)
    running = talk.begin((*turns, (ASSISTANT, "ok"), (USER, "slow")), answer, agent=1)
    grow(talk, *left, 0, 5)
    assert talk.kinds(State.DEAD) == []
    talk.settle(running, said("at last"))
    assert talk.kinds(State.DEAD) == []


def test_a_dead_branch_that_is_taken_up_again_lives(talk):
    left, right = forked(talk)
    grow(talk, *left, 0, 4)
    assert talk.kinds(State.DEAD)
    grow(talk, *right, 1, 1)
    assert talk.kinds(State.DEAD) == []


def test_conversations_that_share_no_turn_do_not_outlive_each_other(talk):
    talk.call((*HEAD, (USER, "aside")), said("a"), agent=1)
    grow(talk, GOAL, None, 0, 6)
    assert not [block for block in blocks(talk.graph) if block.agent == 1 and block.state is State.DEAD]


def test_a_conversation_whose_result_was_brought_home_is_dead(talk):
    talk.call(GOAL, said("ok", "task"))
    talk.call(((SYSTEM, "you help"), (USER, "sub task")), said("found"), agent=1)
    talk.graph.close(1)
    assert talk.kinds(State.DEAD) == ["user", "assistant"]
    assert [line.tip for line in lines(talk.graph)] == [4, None]


def test_when_a_program_ends_all_but_the_durable_is_dead_and_retired(talk):
    talk.call(GOAL, said("ok"))
    talk.graph.end()
    assert (talk.kinds(State.DEAD), talk.kinds(State.LIVE)) == (["user", "assistant"], ["tools", "system"])
    (retired,) = talk.graph.take_retired()
    assert (len(retired.digests), retired.kept) == (3, 2)


def test_a_call_that_settles_after_its_program_ended_changes_nothing_else(talk):
    call = talk.begin(GOAL)
    talk.graph.end()
    talk.settle(call, said("late"))
    assert talk.kinds(State.LIVE) == ["tools", "system"]


def test_a_call_that_was_dropped_leaves_its_prompt(talk):
    talk.begin(GOAL)
    talk.graph.settle(ended(0, 0, None), RATE)
    assert talk.kinds() == ["tools", "system", "user"]
    assert [line.is_running for line in lines(talk.graph)] == [False]


def test_a_prompt_that_goes_on_from_what_the_engine_keeps_hangs_on_it(talk):
    talk.call(GOAL, said("ok"))
    talk.settle(talk.begin(((USER, "and then?"),), continues=("resp_1",)), said("this"))
    assert [block.parent for block in blocks(talk.graph)] == [None, 0, 1, 2, 3, 4]


def test_a_large_message_in_pieces_is_one_block_and_two_messages_are_two(talk):
    talk.call((*HEAD, (USER, "a" * 4096), (USER, "a" * 100), (USER, "another")), said("ok"))
    assert talk.kinds() == ["tools", "system", "user", "user", "assistant"]
    assert talk.tokens()[2:4] == [pytest.approx(4196, abs=4), pytest.approx(7, abs=4)]


def test_where_an_engine_does_not_count_what_placement_believed_stands(talk):
    agent, number, _ = talk.begin(GOAL)
    talk.graph.settle(ended(agent, number, outcome(None, believed_tokens=50)), RATE)
    assert sum(talk.tokens()) == 50


@pytest.mark.parametrize("claimed", [0, 1, MAX_TOKENS, 1 << 62])
def test_whatever_an_engine_says_it_counted_is_survived(talk, claimed):
    agent, number, _ = talk.begin(GOAL)
    talk.graph.settle(ended(agent, number, outcome(claimed, claimed, said("ok"))), RATE)
    assert all(0 <= tokens <= MAX_TOKENS for tokens in talk.tokens())


def test_a_graph_that_is_full_takes_in_no_more_and_says_so(talk):
    head = tuple((USER, f"{number}") for number in range(MAX_ROWS // 2 - 8))
    talk.call(head, said("ok"))
    talk.call(((USER, "new"), *head), said("ok"))
    assert not talk.graph.is_full
    talk.call(((USER, "newer"), *head), said("ok"))
    assert talk.graph.is_full
    assert len(talk.graph.rows) <= MAX_ROWS


def test_the_prompt_of_a_conversation_can_be_asked_for(talk):
    first = said("ok")
    turns = (*GOAL, (ASSISTANT, "ok"), (USER, "more"))
    talk.call(GOAL, first)
    talk.call(turns, said("done"), first)
    chain = prompt_of(talk.graph, 0, 4.0)
    assert chain.digests == request(turns).chain.digests
    assert chain.ends[-1] == 4 * sum(len(text) for _, text in turns)
    assert prompt_of(talk.graph, 7, 4.0) is None


def retentions(talk):
    return [block.retention.value for block in blocks(talk.graph)]


def test_without_hints_the_head_is_durable_turns_are_the_sessions_and_reasoning_is_ephemeral(talk):
    talk.call(GOAL, said("ok", reasoning="hm"))
    assert retentions(talk) == ["durable", "durable", "session", "ephemeral", "session"]


def test_a_side_call_is_ephemeral_beside_a_conversation(talk):
    talk.call(((USER, "a title, please"),), said("title"), agent=1)
    turns, answer = grow(talk, GOAL, None, 0, 1)
    assert "ephemeral" not in retentions(talk)
    grow(talk, turns, answer, 0, 1)
    assert {block.retention for block in blocks(talk.graph) if block.agent == 1} == {Retention.EPHEMERAL}


@pytest.mark.parametrize(("ttl_s", "expected"), [(300.0, ["durable", "durable", "session"]), (3600.0, ["durable"] * 3)])
def test_up_to_a_cache_mark_blocks_are_kept_as_long_as_its_ttl_says(talk, ttl_s, expected):
    talk.call(GOAL, said("ok", reasoning="hm"), hints=Hints(breakpoints=(Breakpoint(2, ttl_s),)))
    assert retentions(talk) == [*(expected if ttl_s > 300 else ["session"] * 3), "ephemeral", "session"]


def test_a_cache_key_makes_the_head_durable(talk):
    talk.call((*HEAD, (SegmentKind.OTHER, "more"), (USER, "goal")), said("ok"), hints=Hints(cache_key="key"))
    assert retentions(talk) == ["durable", "durable", "durable", "session", "session"]


def test_the_header_says_how_long_what_is_new_with_a_call_is_kept(talk):
    talk.call(GOAL, said("ok"), headers={b"x-turnwise-retention": b"ephemeral"})
    talk.call(
        (*GOAL, (ASSISTANT, "ok"), (USER, "more")), said("done"), said("ok"), headers={b"x-turnwise-retention": b"durable"}
    )
    assert retentions(talk) == ["ephemeral"] * 4 + ["durable"] * 2


def test_wishes_are_shown_with_their_line_and_the_header_stands_above_the_body(talk):
    hints = Hints(cache_key="key", priority=1, output_tokens=100, speculative_prefill=True)
    talk.call(GOAL, said("ok"), hints=hints, headers={b"x-turnwise-priority": b"-7"})
    (line,) = lines(talk.graph)
    assert (line.priority, line.output_tokens, line.speculative_prefill, line.cache_key) == (-7, 100, True, "key")


@pytest.mark.parametrize(
    ("headers", "hints", "why"),
    [
        ({b"x-turnwise-retention": b"forever"}, NO_HINTS, Malformed.RETENTION),
        ({b"x-turnwise-retention": b""}, NO_HINTS, Malformed.RETENTION),
        ({b"x-turnwise-priority": b"high"}, NO_HINTS, Malformed.PRIORITY),
        ({b"x-turnwise-priority": b"9" * 40}, NO_HINTS, Malformed.PRIORITY),
        ({b"x-turnwise-priority": b"1\n"}, NO_HINTS, Malformed.PRIORITY),
        ({}, Hints(breakpoints=(Breakpoint(99, 300.0),)), Malformed.BREAKPOINT),
        ({}, Hints(breakpoints=(Breakpoint(-1, 300.0),)), Malformed.BREAKPOINT),
        ({}, Hints(breakpoints=(Breakpoint(0, float("nan")),)), Malformed.BREAKPOINT),
        ({}, Hints(cache_key="k" * 129), Malformed.CACHE_KEY),
        ({}, Hints(cache_key="a\x00b"), Malformed.CACHE_KEY),
    ],
)
def test_a_malformed_hint_changes_nothing_and_is_counted(talk, headers, hints, why):
    talk.call(GOAL, said("ok"), headers=headers, hints=hints)
    assert retentions(talk) == ["durable", "durable", "session", "session"]
    assert {reason: count for reason, count in talk.reader.malformed.items() if count} == {why: 1}
    assert talk.graph.hinted is None


def test_no_rate_is_learned_of_a_model_with_a_name_of_any_length():
    rates = Rates()
    learned = []
    for name in ("m" * 256, "m" * 257):
        for _ in range(100):
            rates.counted.append((name, 1000, 500))
        learned.append(rates.tokens_per_byte(name) > 0.3)
    assert learned == [True, False]
