import asyncio

import msgspec
import pytest

from turnwise.tools_gateway.upstreams.dialogue import MAX_UNREAD, Dialogue
from turnwise.tools_gateway.upstreams.jsonrpc import LEGACY, MODERN
from turnwise.tools_gateway.values import Fault, ToolFault

META = "io.modelcontextprotocol/"


class Line:
    """The other end of a dialogue."""

    def __init__(self):
        self.sent, self.news = [], []
        self.dialogue = Dialogue("one", lambda raw: self.sent.append(msgspec.json.decode(raw)), self.hear)

    def hear(self, method, params):
        self.news.append((method, params))

    def says(self, **message):
        return self.dialogue.receive(msgspec.json.encode({"jsonrpc": "2.0", **message}))

    async def asked(self, method="tools/call", params=None, version=MODERN, **more):
        task = asyncio.create_task(self.dialogue.ask(method, params or {}, version, **more))
        await asyncio.sleep(0)
        return task


@pytest.fixture
def line():
    return Line()


async def test_answers_in_any_order_reach_whoever_asked(line):
    first, second = await line.asked(), await line.asked()
    assert line.says(id=2, result={"n": 2})
    assert line.says(id=1, result={"n": 1, "something new": [None]})
    assert await first == {"n": 1, "something new": [None]}
    assert await second == {"n": 2}


async def test_a_request_of_the_newer_revision_says_for_itself_what_its_caller_can(line):
    meta = {"traceparent": "00-a", "baggage": "secret=1", META + "protocolVersion": "a lie", "progressToken": "mine"}
    task = await line.asked(params={"name": "t", "_meta": meta}, capabilities={"sampling": {}})
    (sent,) = line.sent
    assert sent["params"]["name"] == "t"
    assert sent["params"]["_meta"] == {
        "traceparent": "00-a",
        META + "protocolVersion": MODERN,
        META + "clientInfo": sent["params"]["_meta"][META + "clientInfo"],
        META + "clientCapabilities": {"sampling": {}},
    }
    task.cancel()


async def test_a_request_of_an_older_revision_carries_no_envelope(line):
    task = await line.asked(params={"name": "t", "_meta": {META + "logLevel": "debug", "baggage": "x"}}, version=LEGACY)
    assert line.sent[0]["params"] == {"name": "t"}
    task.cancel()


async def test_an_error_keeps_what_the_upstream_said(line):
    task = await line.asked()
    line.says(id=1, error={"code": -32602, "message": "no such tool", "data": {"a": 1}})
    with pytest.raises(ToolFault, match="no such tool") as caught:
        await task
    assert caught.value.fault is Fault.UPSTREAM_REFUSED
    assert caught.value.error == {"code": -32602, "message": "no such tool", "data": {"a": 1}}


@pytest.mark.parametrize("message", [{}, {"error": "words"}, {"result": None}])
async def test_an_answer_that_is_none_is_the_upstreams_fault(line, message):
    task = await line.asked()
    line.says(id=1, **message)
    with pytest.raises(ToolFault) as caught:
        await task
    assert caught.value.fault is Fault.UPSTREAM_BROKE


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"a":1}',
        b'{"jsonrpc":"2.0","id": 1 ,"result":[1]}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"result":' + b'{"a":' * 100_000,
        b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}',
    ],
    ids=["cut", "array", "nan", "deep", "binary"],
)
async def test_an_answer_that_cannot_be_read_fails_only_the_request_it_names(line, raw):
    broken, sound = await line.asked(), await line.asked()
    assert line.dialogue.receive(raw)
    with pytest.raises(ToolFault, match="no MCP"):
        await broken
    line.says(id=2, result={"ok": True})
    assert await sound == {"ok": True}


async def test_an_id_within_a_result_is_not_taken_for_the_answers(line):
    first, second = await line.asked(), await line.asked()
    assert not line.dialogue.receive(b'{"result":{"id":1,"a":NaN},"jsonrpc":"2.0","id":2}')
    assert not first.done()
    assert not second.done()
    first.cancel()
    second.cancel()


@pytest.mark.parametrize(
    "message", [{"id": 99, "result": {}}, {"id": "1", "result": {}}, {"id": None, "result": {}}, {"result": {}}]
)
async def test_an_answer_to_nothing_that_was_asked_is_left(line, message):
    task = await line.asked()
    assert not line.says(**message)
    assert not task.done()
    task.cancel()


async def test_a_request_nobody_waits_for_is_cancelled_on_the_other_side(line):
    task = await line.asked()
    task.cancel()
    await asyncio.wait((task,))
    assert line.sent[-1]["method"] == "notifications/cancelled"
    assert line.sent[-1]["params"]["requestId"] == 1
    assert not line.says(id=1, result={})


@pytest.mark.parametrize("answered", [1, 2, 3], ids=["given up", "under way", "the check"])
async def test_a_check_ends_at_an_answer_to_anything_that_was_asked(line, answered):
    given_up, under_way, check = await line.asked(), await line.asked(), await line.asked("ping", is_check=True)
    given_up.cancel()
    await asyncio.wait((given_up,))
    line.says(id=answered, error={"code": 1, "message": "no"})
    assert await check == {}
    under_way.cancel()


@pytest.mark.parametrize("message", [{"id": 0, "result": {}}, {"id": 9, "result": {}}, {"method": "notifications/message"}])
async def test_what_answers_nothing_that_was_asked_does_not_end_a_check(line, message):
    check = await line.asked("ping", is_check=True)
    line.says(**message)
    await asyncio.sleep(0)
    assert not check.done()
    line.dialogue.lose("gone")
    with pytest.raises(ToolFault, match="gone"):
        await check


@pytest.mark.parametrize("method", ["initialize", "server/discover"])
async def test_a_greeting_is_never_cancelled(line, method):
    task = await line.asked(method)
    task.cancel()
    await asyncio.wait((task,))
    assert len(line.sent) == 1


async def test_progress_goes_to_its_caller_under_the_callers_own_token(line):
    told = []

    async def notify(method, params):
        told.append((method, params))

    task = await line.asked(params={"_meta": {"progressToken": "mine"}}, notify=notify)
    assert line.sent[0]["params"]["_meta"]["progressToken"] == 1
    line.says(method="notifications/progress", params={"progressToken": 1, "progress": 1})
    line.says(method="notifications/progress", params={"progressToken": 7, "progress": 1})
    line.says(id=1, result={})
    await task
    assert told == [("notifications/progress", {"progressToken": "mine", "progress": 1})]


async def test_a_caller_who_takes_nothing_does_not_make_memory_grow(line):
    gate = asyncio.Event()

    async def notify(method, params):
        await gate.wait()

    task = await line.asked(notify=notify)
    for number in range(10 * MAX_UNREAD):
        line.says(method="notifications/progress", params={"progressToken": 1, "progress": number})
    (call,) = line.dialogue._waiting.values()
    assert call.inbox.qsize() == MAX_UNREAD
    line.says(id=1, result={"done": True})
    gate.set()
    assert await task == {"done": True}


async def test_what_belongs_to_no_request_is_news(line):
    line.says(method="notifications/tools/list_changed")
    assert line.news == [("notifications/tools/list_changed", {})]


async def test_a_ping_is_answered_and_what_nobody_offers_refused(line):
    line.says(id="a", method="ping")
    line.says(id=7, method="roots/list")
    assert line.sent[0] == {"jsonrpc": "2.0", "id": "a", "result": {}}
    assert line.sent[1]["id"] == 7
    assert line.sent[1]["error"]["code"] == -32601


async def test_the_one_caller_who_can_answers_what_the_upstream_asks(line):
    async def answer(method, params):
        return {"action": "accept", "asked": method}

    silent, able = await line.asked(), await line.asked(answer=answer)
    line.says(id="q", method="elicitation/create", params={"message": "?"})
    line.says(id=2, result={})
    await able
    assert {"jsonrpc": "2.0", "id": "q", "result": {"action": "accept", "asked": "elicitation/create"}} in line.sent
    silent.cancel()


async def test_where_two_callers_could_answer_none_is_asked(line):
    async def answer(method, params):
        raise AssertionError("nobody knows whose this is")

    tasks = [await line.asked(answer=answer) for _ in range(2)]
    line.says(id="q", method="elicitation/create")
    assert line.sent[-1]["error"]["code"] == -32601
    for task in tasks:
        task.cancel()


async def test_a_callers_refusal_is_the_upstreams_to_hear(line):
    async def answer(method, params):
        raise ToolFault(Fault.NOT_ALLOWED, "no", {"code": -1, "message": "the user said no"})

    task = await line.asked(answer=answer)
    line.says(id="q", method="elicitation/create")
    line.says(id=1, result={})
    await task
    assert line.sent[-1]["error"] == {"code": -1, "message": "the user said no"}


async def test_whoever_waits_when_the_line_is_lost_is_told(line):
    task = await line.asked()
    line.dialogue.lose("it is gone")
    with pytest.raises(ToolFault, match="it is gone"):
        await task
    with pytest.raises(ToolFault) as caught:
        await line.dialogue.ask("tools/call", {}, MODERN)
    assert caught.value.fault is Fault.UPSTREAM_DOWN
    assert len(line.sent) == 1
