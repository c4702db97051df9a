"""States that upstreams want back, as clients hold them, and requests that are gone on with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.tools_gateway.server.client import Client
from turnwise.tools_gateway.server.meta import sent_on
from turnwise.tools_gateway.server.notices import relayed
from turnwise.tools_gateway.server.request_state import Seal
from turnwise.tools_gateway.server.rounds import MAX_ROUNDS, Rounds
from turnwise.tools_gateway.values import Caller, Principal, ToolFault

BOUND = ("ann", "tools/call", "std", "echo")
FORM = {"method": "elicitation/create", "params": {"message": "Who?"}}
PAGE = {"method": "elicitation/create", "params": {"mode": "url", "url": "https://evil.example"}}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def seal(clock=None):
    return Seal(b"k" * 32, clock or Clock(), ttl_s=60.0)


@given(st.text())
def test_what_was_sealed_opens_as_it_was(state):
    assert seal().open(seal().seal(state, BOUND), BOUND) == state


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_anything_else_does_not_open(text):
    assert seal().open(text, BOUND) is None


@pytest.mark.parametrize("place", range(len(BOUND)))
def test_a_state_opens_for_the_same_request_alone(place):
    other = tuple("other" if number == place else part for number, part in enumerate(BOUND))
    assert seal().open(seal().seal("s", BOUND), other) is None


def test_parts_do_not_run_into_each_other():
    assert seal().open(seal().seal("s", ("ab", "c")), ("a", "bc")) is None


def test_a_state_of_another_process_does_not_open():
    assert Seal(b"o" * 32, Clock()).open(seal().seal("s", BOUND), BOUND) is None


def test_a_state_that_is_too_old_does_not_open():
    clock = Clock()
    sealed = seal(clock).seal("s", BOUND)
    clock.now += 59
    assert seal(clock).open(sealed, BOUND) == "s"
    clock.now += 2
    assert seal(clock).open(sealed, BOUND) is None


def client(answers, capabilities):
    async def answer(method, params):
        answers.append((method, params))
        return {"action": "decline"}

    async def notify(method, params):
        raise AssertionError

    return Client(Principal("ann"), capabilities, {}, notify, answer)


async def test_an_upstream_that_asks_for_ever_is_given_up():
    asked, answers = [], []

    async def ask(caller, notify, answer):
        asked.append(caller)
        return {"resultType": "input_required", "inputRequests": {"who": FORM}, "requestState": str(len(asked))}

    with pytest.raises(ToolFault, match="more than"):
        await Rounds(seal()).run(client(answers, {"elicitation": {}}), {}, BOUND, ask)
    assert len(answers) == MAX_ROUNDS
    assert asked[0] == Caller({"elicitation": {}})
    assert asked[1] == Caller({"elicitation": {}}, {"who": {"action": "decline"}}, "1")


@pytest.mark.parametrize("requests", [{"who": PAGE}, {"who": "no request"}, ["who"], {"who": {"method": "tools/call"}}])
async def test_what_may_not_be_asked_of_a_client_is_not(requests):
    answers = []

    async def ask(caller, notify, answer):
        return {"resultType": "input_required", "inputRequests": requests}

    with pytest.raises(ToolFault):
        await Rounds(seal()).run(client(answers, {"elicitation": {}}), {}, BOUND, ask)
    assert answers == []


@pytest.mark.parametrize("parent", ["", "00-short-1-01", 7, None, "00-" + "A" * 32 + "-" + "b" * 16 + "-01"])
def test_trace_context_that_is_none_is_not_sent_on(parent):
    assert sent_on({"traceparent": parent, "tracestate": "v=1"}) == {}


@pytest.mark.parametrize(
    ("method", "params", "token", "level", "shown"),
    [
        ("notifications/progress", {"progress": 1}, None, None, None),
        ("notifications/progress", {"progress": 1, "progressToken": 5}, 0, None, {"progress": 1, "progressToken": 0}),
        ("notifications/message", {"level": "warning"}, None, "info", {"level": "warning"}),
        ("notifications/message", {"level": "info"}, None, "warning", None),
        ("notifications/message", {"level": "info"}, None, None, None),
        ("notifications/message", {"level": "loud"}, None, "debug", None),
        ("notifications/tools/list_changed", {}, 1, "debug", None),
    ],
)
def test_a_client_is_told_what_it_asked_to_be_told(method, params, token, level, shown):
    assert relayed(method, params, token, level) == shown
