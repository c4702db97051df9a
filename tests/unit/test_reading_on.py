"""A conversation's next body is read from where its last one ended."""

import json

import msgspec
import pytest

from turnwise.dialects import DIALECTS, match
from turnwise.dialects.beginnings import MAX_FORKS, MIN_BYTES
from turnwise.dialects.turns import MAX_TURNS
from turnwise.errors import ClientFault
from turnwise.index import prompt_chain
from turnwise.proxy.lint import Linter, Step
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits, LintSettings

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
READER = Reader(Edits())
MARK = {"type": "ephemeral"}


def body(turns, **fields) -> bytes:
    return json.dumps({"model": "m", "messages": turns, **fields}).encode()


def read(document: bytes, path=CHAT):
    raw = RawRequest("POST", path, (), document, 0.0, 0.0, {})
    return READER.read(raw, match("POST", path, frozenset()), "req-1")


def read_in_full(document: bytes, path=CHAT):
    route = match("POST", path, frozenset())
    return DIALECTS[route.dialect].read_in_full(document, splice_usage=True)


def turn(role: str, content) -> dict[str, object]:
    return {"role": role, "content": content}


def task(name: str, num_bytes: int = 2 * MIN_BYTES):
    """The beginning of a conversation of its own, some of it in pieces and some not."""
    return [turn("system", "s" * 5000), turn("user", f"{name} " * (num_bytes // (len(name) + 1)))]


def step(number: int):
    return [turn("assistant", f"I do {number}."), turn("tool", f"{number} " * 500)]


def test_of_a_conversation_that_goes_on_only_the_new_turns_are_read():
    turns = task("grows")
    before = read(body(turns))
    for number in range(4):
        turns += step(number)
        document = body(turns, stream=True)
        request, whole = read(document), read_in_full(document)
        assert request.prompt.num_known == len(before.chain.digests)
        assert request.chain == prompt_chain(whole.prompt)
        assert (request.body, request.session) == (whole.body, before.session)
        assert request.prompt.segments == whole.prompt.segments
        before = request


def test_markers_that_move_with_the_newest_turns_do_not_hide_where_a_conversation_went_on():
    def user(text: str, *, is_marked: bool):
        return turn("user", [{"type": "text", "text": text, **({"cache_control": MARK} if is_marked else {})}])

    def document(num_steps: int, *, is_marked: bool) -> bytes:
        turns = [user("moves " * MIN_BYTES, is_marked=is_marked)]
        for number in range(num_steps):
            turns += [
                turn("assistant", f"I do {number}."),
                user(f"more {number}", is_marked=is_marked and number >= num_steps - 2),
            ]
        system = {"type": "text", "text": "s", **({"cache_control": MARK} if is_marked else {})}
        return body(turns, system=[system])

    num_known = []
    for num_steps in range(8):
        request = read(document(num_steps, is_marked=True), MESSAGES)
        assert request.chain == prompt_chain(read_in_full(document(num_steps, is_marked=False), MESSAGES).prompt)
        num_known.append(request.prompt.num_known)
    assert num_known[:2] == [0, 0]
    assert num_known[3:] == sorted(set(num_known[3:]))


def test_conversations_that_part_from_one_another_are_each_read_on():
    turns = task("parts")
    read(body(turns))
    branches = [turns + step(number) for number in range(5)]
    for branch in branches:
        read(body(branch))
    assert all(read(body(branch + step(9))).prompt.num_known for branch in branches)


def test_of_conversations_that_part_from_one_another_the_oldest_are_forgotten():
    turns = task("forgets")
    branches = [turns + step(number) for number in range(MAX_FORKS + 1)]
    for branch in branches:
        read(body(branch))
    assert [bool(read(body(branch + step(99))).prompt.num_known) for branch in (branches[0], branches[-1])] == [False, True]


@pytest.mark.parametrize(
    "change",
    [{"model": "other"}, {"tool_choice": "none"}, {"cache_salt": "s"}, {"tools": [{"name": "f"}]}],
    ids=lambda change: next(iter(change)),
)
def test_another_frame_is_another_conversation(change):
    turns = task(f"frames {change}")
    read(body(turns))
    document = body([*turns, *step(1)], **change)
    request = read(document)
    assert request.prompt.known is None
    assert request.chain == prompt_chain(read_in_full(document).prompt)


def test_short_bodies_leave_nothing_behind():
    turns = [turn("user", "short " * 100)]
    read(body(turns))
    assert read(body([*turns, *step(1)])).prompt.known is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-1], "ends inside a value"),
        (lambda text: text.replace(b'"}]', b'"},]'), "is not valid JSON"),
        (lambda text: text[:-1] + b',"model":"m"}', "is given twice"),
        (lambda text: text[:-4] + b"\xff" + text[-4:], "UTF-8"),
        (lambda text: text.replace(b'"}]', b'"},7]'), r"messages\[4\]"),
    ],
    ids=["truncated", "comma", "twice", "utf8", "turn"],
)
def test_what_is_wrong_behind_a_known_beginning_is_said_as_of_the_whole(damage, words):
    turns = task("damaged")
    read(body(turns))
    document = damage(body([*turns, *step(1)]))
    with pytest.raises(ClientFault, match=words) as caught:
        read(document)
    with pytest.raises(ClientFault) as whole:
        read_in_full(document)
    assert (caught.value.message, caught.value.param) == (whole.value.message, whole.value.param)


def test_turns_that_are_known_count_among_those_that_a_body_may_hold():
    turns = [{"role": "user"}] * MAX_TURNS
    read(body(turns[2:] + step(1)))
    with pytest.raises(ClientFault, match="must not hold more"):
        read(body(turns[2:] + step(1) + step(2)))


def test_the_linter_finds_in_prompts_read_on_what_it_finds_in_whole_ones():
    turns = task("linted")
    documents = [body(turns := [*turns, *step(number)]) for number in range(4)]
    changed = [turns[0], turns[1], turn("assistant", "I do 0, really."), *turns[3:]]
    documents += [body(changed), body([*changed, *step(9)])]
    requests = [read(document) for document in documents]
    wholes = [
        msgspec.structs.replace(request, prompt=read_in_full(document).prompt)
        for request, document in zip(requests, documents, strict=True)
    ]
    read_on, whole = ([linter.follow(one, 0.0) for one in calls] for linter, calls in ((new(), requests), (new(), wholes)))
    assert [(one.step, one.finding) for one in read_on] == [(one.step, one.finding) for one in whole]
    assert [one.step for one in whole] == [Step.NEW, Step.EXTENDS, Step.EXTENDS, Step.EXTENDS, Step.BREAKS, Step.EXTENDS]
    assert sum(request.prompt.num_known > 0 for request in requests) == 4


def new() -> Linter:
    return Linter(LintSettings(), 4.0)
