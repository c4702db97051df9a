import msgspec
import pytest

from turnwise.dialects import match
from turnwise.errors import ClientFault
from turnwise.proxy.reading import Reader, new_ids, request_id
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits

DEFAULT_EDITS = Edits()


def raw(body: bytes, *, headers=(), path="/v1/chat/completions", method="POST") -> RawRequest:
    fields = {name.lower(): value for name, value in reversed(headers)}
    return RawRequest(method=method, target=path, headers=headers, body=body, arrived_at=1.0, read_at=1.0, fields=fields)


def chat(*texts: str, **fields) -> bytes:
    roles = ["system", "user", "assistant"]
    messages = [{"role": roles[min(i, 1 + i % 2)], "content": text} for i, text in enumerate(texts)]
    return msgspec.json.encode({"model": "m", "messages": messages, **fields})


def read(body: bytes, *, headers=(), edits=DEFAULT_EDITS, path="/v1/chat/completions", method="POST"):
    raw_request = raw(body, headers=headers, path=path, method=method)
    return Reader(edits).read(raw_request, match(method, path, frozenset()), "req-1")


def test_an_inbound_request_id_is_echoed_when_valid_and_replaced_when_not():
    made = new_ids("req-")
    assert request_id({b"x-request-id": b"abc-1"}, made) == "abc-1"
    for bad in (b"", b"a b", b"x" * 200, b"a\xff"):
        assert request_id({b"x-request-id": bad}, made).startswith("req-")


def test_a_client_request_id_is_never_an_id():
    made = new_ids("req-")
    assert request_id({b"x-client-request-id": b"thread"}, made) != "thread"


def test_call_ids_are_ours_and_never_repeat():
    reader = Reader(Edits())
    route = match("POST", "/v1/chat/completions", frozenset())
    calls = [reader.read(raw(chat("s", "u")), route, "same") for _ in range(100)]
    assert len({call.call_id for call in calls}) == 100
    assert {call.request_id for call in calls} == {"same"}


def test_an_extended_conversation_keeps_its_digests():
    first, second = read(chat("s", "u")), read(chat("s", "u", "a", "more"))
    assert first.chain is not None
    assert second.chain is not None
    assert second.chain.digests[: len(first.chain.digests)] == first.chain.digests


def test_a_session_has_the_name_that_a_header_gives_it():
    assert read(chat("s", "u")).session is None
    assert read(chat("s", "u"), headers=((b"X-Session-Affinity", b"ses_1"),)).session == "ses_1"


def test_a_stream_is_asked_for_usage_and_the_client_spared_it():
    request = read(chat("u", stream=True))
    assert b"include_usage" in request.body
    assert not request.wants_usage


def test_the_splice_has_a_switch():
    body = chat("u", stream=True)
    request = read(body, edits=Edits(include_usage=False))
    assert request.body is body
    assert request.wants_usage


def test_the_debug_header_is_a_wish_of_the_call():
    assert read(chat("u"), headers=((b"x-turnwise-debug", b"1"),)).wants_debug
    assert not read(chat("u"), headers=((b"x-turnwise-debug", b"0"),)).wants_debug
    assert not read(chat("u")).wants_debug
    assert read(chat("u"), edits=Edits(debug_header=True)).wants_debug


def test_a_relayed_body_names_its_model_and_passes_as_it_is():
    body = b'{"model": "m", "input": ["x"],   "odd": 1}'
    request = read(body, path="/v1/embeddings")
    assert (request.model, request.body, request.chain) == ("m", body, None)


def test_a_path_without_a_body_needs_no_model():
    request = read(b"", path="/v1/responses/resp_1", method="GET")
    assert (request.model, request.body) == (None, b"")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"messages": []}', "model"),
        (b'{"model": 3, "messages": []}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": ["x"]}', "messages"),
        (b'\xff{"model": "m"}', None),
    ],
)
def test_a_bad_body_is_the_clients_fault_and_names_its_field(body, param):
    with pytest.raises(ClientFault) as caught:
        read(body)
    assert caught.value.status == 400
    if param is not None:
        assert (caught.value.param or "").startswith(param)
