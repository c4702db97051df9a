"""What clients say of themselves: read strictly, and what cannot be taken is left out and counted."""

import json

import pytest

from turnwise.proxy.programs.identity import Identity, Ignored
from turnwise.proxy.programs.traceparent import ClientSpan, members, parse
from turnwise.proxy.programs.values import Basis
from turnwise.settings import ProgramSettings
from turnwise.turns import NO_HINTS, Hints

TRACE, SPAN = "7086d6786c09fa5f1b4b836284833701", "945e8cf907538955"


def claims(hints: Hints = NO_HINTS, identity: Identity | None = None, **headers):
    fields = {
        name.replace("_", "-").encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in headers.items()
    }
    return (identity or Identity(ProgramSettings())).claims(fields, hints)


def codex(**members) -> str:
    return json.dumps(members)


def test_a_call_that_says_nothing_claims_nothing():
    said = claims(accept="*/*")
    assert (said.tenant, said.name, said.basis, said.session, said.agent, said.span, said.is_retry) == (
        "", "", Basis.NEW, "", "", None, False,
    )  # fmt: skip


def test_the_tenant_is_a_digest_of_the_first_credential_and_not_the_credential():
    one, same, other = claims(authorization="Bearer a"), claims(authorization="Bearer a", x_api_key="k"), claims(x_api_key="k")
    assert one.tenant == same.tenant != other.tenant
    assert len(one.tenant) == 16
    assert "Bearer" not in one.tenant


@pytest.mark.parametrize(
    ("headers", "name", "basis"),
    [
        ({"x_turnwise_program": "goal", "baggage": "turnwise.program.id=other"}, "goal", Basis.NAMED),
        (
            {"baggage": "turnwise.program.id=a,program.id=b", "x_codex_turn_metadata": codex(root_turn_id="c")},
            "a",
            Basis.BAGGAGE,
        ),
        ({"baggage": "k=v, program.id = goal%2042;ttl=1 ,x"}, "goal 42", Basis.BAGGAGE),
        ({"baggage": "program.id=first,program.id=second"}, "first", Basis.BAGGAGE),
        ({"x_codex_turn_metadata": codex(root_turn_id="c", session_id="s", unknown=[1])}, "c", Basis.ROOT_TURN),
        ({"x_turnwise_program": " spaced \t"}, "spaced", Basis.NAMED),
        ({"x_turnwise_program": "Köln"}, "Köln", Basis.NAMED),
    ],
)
def test_a_program_is_named_by_header_then_baggage_then_root_turn(headers, name, basis):
    said = claims(**headers)
    assert (said.name, said.basis) == (name, basis)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"x_turnwise_program": "x" * 129}, Ignored.TOO_LONG),
        ({"x_turnwise_program": "x" * 4096}, Ignored.TOO_LONG),
        ({"x_turnwise_program": "a\x07b"}, Ignored.UNPRINTABLE),
        ({"x_turnwise_program": b"\xff\xfe"}, Ignored.UNPRINTABLE),
        ({"x_turnwise_program": " "}, Ignored.EMPTY),
        ({"baggage": "program.id=" + "x" * 65}, Ignored.TOO_LONG),
        ({"baggage": "program.id=%00"}, Ignored.UNPRINTABLE),
        ({"baggage": "program.id=%ff"}, Ignored.UNPRINTABLE),
        ({"baggage": "a=b," * 3000}, Ignored.TOO_LONG),
        ({"baggage": "a=b, ,;;;==%%%zz,"}, Ignored.MALFORMED),
        ({"baggage": "program.id"}, Ignored.MALFORMED),
        ({"baggage": " =goal"}, Ignored.MALFORMED),
        ({"x_codex_turn_metadata": "{"}, Ignored.MALFORMED),
        ({"x_codex_turn_metadata": "[" * 4000}, Ignored.MALFORMED),
        ({"x_codex_turn_metadata": codex(root_turn_id=7)}, Ignored.MALFORMED),
        ({"x_codex_turn_metadata": codex(root_turn_id="x" * 200)}, Ignored.TOO_LONG),
        ({"x_codex_turn_metadata": codex(root_turn_id="x" * 5000)}, Ignored.TOO_LONG),
        ({"x_codex_turn_metadata": b"\xff"}, Ignored.MALFORMED),
        ({"traceparent": "garbage"}, Ignored.MALFORMED),
        ({"x_session_id": "s" * 129}, Ignored.TOO_LONG),
        ({"x_turnwise_agent": "a\nb"}, Ignored.UNPRINTABLE),
        ({"x_parent_session_id": "\u2028"}, Ignored.UNPRINTABLE),
    ],
)
def test_what_cannot_be_taken_is_left_out_and_counted_by_reason(headers, why):
    identity = Identity(ProgramSettings())
    said = claims(identity=identity, **headers)
    assert (said.name, said.session, said.agent, said.parent_session, said.span) == ("", "", "", "", None)
    assert identity.ignored == dict.fromkeys(Ignored, 0) | {why: 1}


def test_a_bad_name_gives_way_to_the_next_one():
    said = claims(x_turnwise_program="x" * 500, baggage="program.id=good")
    assert (said.name, said.basis) == ("good", Basis.BAGGAGE)


@pytest.mark.parametrize(
    ("headers", "hints", "session"),
    [
        ({"x_session_id": "b", "x_session_affinity": "a"}, NO_HINTS, "a"),
        ({"x_turnwise_session": "ours", "x_session_affinity": "a"}, NO_HINTS, "ours"),
        ({"x_claude_code_session_id": "c"}, Hints(cache_key="k"), "c"),
        ({"x_codex_turn_metadata": codex(session_id="s", thread_id="t")}, Hints(cache_key="k"), "s"),
        ({"x_codex_turn_metadata": codex(thread_id="t")}, NO_HINTS, "t"),
        ({}, Hints(user_id='{"device_id":"d","session_id":"u"}', cache_key="k"), "u"),
        ({}, Hints(user_id="user_abc_account__session_123-4"), "123-4"),
        ({}, Hints(user_id="user-17"), ""),
        ({}, Hints(user_id="user-17", cache_key="k"), "k"),
        ({}, Hints(user_id="{}", cache_key="k"), "k"),
        ({"x_session_id": "s" * 200}, Hints(cache_key="k"), "k"),
    ],
)
def test_a_session_is_named_by_headers_in_order_then_by_the_body(headers, hints, session):
    said = claims(hints, **headers)
    assert (said.session, said.is_session_shared) == (session, session == "k")


@pytest.mark.parametrize(
    ("user_id", "why"),
    [
        ("{broken", Ignored.MALFORMED),
        ('{"session_id": 4}', Ignored.MALFORMED),
        ('{"session_id": "a\\u0000"}', Ignored.UNPRINTABLE),
        ("x_session_" + "9" * 200, Ignored.TOO_LONG),
        ("{" + " " * 5000 + "}", Ignored.TOO_LONG),
    ],
)
def test_a_bad_user_id_is_no_session_and_counted(user_id, why):
    identity = Identity(ProgramSettings())
    assert claims(Hints(user_id=user_id), identity).session == ""
    assert identity.ignored[why] == 1


def test_the_headers_that_name_sessions_and_tenants_are_settings():
    identity = Identity(ProgramSettings(session_headers=("x-chat",), tenant_headers=("x-team",)))
    said = claims(identity=identity, x_chat="c", x_session_id="s", x_team="t", authorization="a")
    assert said.session == "c"
    assert said.tenant == claims(identity=identity, x_team="t").tenant != claims(identity=identity).tenant == ""


def test_agents_are_named_by_our_header_then_those_of_clients():
    assert claims(x_turnwise_agent="ours", x_claude_code_agent_id="c").agent == "ours"
    assert claims(x_claude_code_agent_id="c").agent == "c"
    assert claims(x_codex_turn_metadata=codex(agent_name="/root")).agent == "/root"
    assert claims(x_parent_session_id="p").parent_session == "p"


@pytest.mark.parametrize(("count", "is_retry"), [("0", False), ("", False), ("1", True), ("2", True)])
def test_a_library_says_that_it_asks_again(count, is_retry):
    assert claims(x_stainless_retry_count=count).is_retry is is_retry


@pytest.mark.parametrize(
    ("value", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_traceparent_is_read_and_its_flags_are_bits(value, is_sampled):
    assert parse(value.encode()) == ClientSpan(bytes.fromhex(TRACE), bytes.fromhex(SPAN), is_sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"0-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01x",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_malformed_traceparent_is_none(value):
    assert parse(value.encode()) is None


def test_baggage_is_taken_apart_and_what_is_no_member_left_out():
    assert list(members(b"a=1,b = 2 ;p=3;q, ,c,d=%41%zz=")) == [(b"a", b"1"), (b"b", b"2"), None, (b"d", b"A%zz=")]
