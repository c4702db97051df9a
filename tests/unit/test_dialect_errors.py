import json

import pytest

from turnwise.dialects import DIALECTS
from turnwise.errors import ClientFault, EngineFault, Overloaded, ProxyFault, Reason
from turnwise.types import DialectName

UNKNOWN_MODEL = ClientFault("no model x", reason=Reason.UNKNOWN_MODEL, status=404, param="model")
ANTHROPIC_SHAPED = (DialectName.MESSAGES, DialectName.COUNT_TOKENS)
OPENAI_SHAPED = tuple(name for name in DialectName if name not in ANTHROPIC_SHAPED)
NAMED_EVENTS = (*ANTHROPIC_SHAPED, DialectName.RESPONSES, DialectName.STORED)


@pytest.mark.parametrize("name", OPENAI_SHAPED)
@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (ClientFault("x", param="n"), "invalid_request_error", "bad_request"),
        (ClientFault("x", reason=Reason.UNKNOWN_PATH, status=404), "not_found_error", "unknown_path"),
        (UNKNOWN_MODEL, "not_found_error", "model_not_found"),
        (ClientFault("x", reason=Reason.BODY_TOO_LARGE, status=413), "invalid_request_error", "body_too_large"),
        (Overloaded("x"), "overloaded_error", "no_replica"),
        (EngineFault("x", reason=Reason.STREAM_BROKEN), "server_error", "stream_broken"),
        (ProxyFault(), "server_error", "bug"),
    ],
)
def test_openai_errors_carry_message_type_param_and_code(name, fault, kind, code):
    assert json.loads(DIALECTS[name].error(fault)) == {
        "error": {"message": fault.message, "type": kind, "param": fault.param, "code": code}
    }


@pytest.mark.parametrize("name", ANTHROPIC_SHAPED)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (ClientFault("x"), "invalid_request_error"),
        (UNKNOWN_MODEL, "not_found_error"),
        (ClientFault("x", reason=Reason.METHOD_NOT_ALLOWED, status=405), "invalid_request_error"),
        (ClientFault("x", reason=Reason.BODY_TOO_LARGE, status=413), "request_too_large"),
        (ClientFault("x", status=429), "rate_limit_error"),
        (Overloaded("x"), "overloaded_error"),
        (EngineFault("x", reason=Reason.CONNECT_FAILED), "api_error"),
        (EngineFault("x", reason=Reason.ENGINE_TIMEOUT, status=504), "timeout_error"),
        (ProxyFault(), "api_error"),
    ],
)
def test_anthropic_errors_have_their_own_shape(name, fault, kind):
    body = json.loads(DIALECTS[name].error(fault))
    assert body == {"type": "error", "error": {"type": kind, "message": fault.message}}


@pytest.mark.parametrize("name", list(DialectName))
def test_details_of_a_fault_stand_in_anthropics_shape_alone(name):
    error = json.loads(DIALECTS[name].error(ClientFault("x", details={"error_code": "c"})))["error"]
    assert error.get("details") == ({"error_code": "c"} if name in ANTHROPIC_SHAPED else None)


@pytest.mark.parametrize("name", list(DialectName))
def test_an_error_event_stands_alone_even_behind_half_an_event_and_never_says_done(name):
    event = DIALECTS[name].error_event(EngineFault('broke: "\n', reason=Reason.STREAM_BROKEN))
    blocks = (b'data: {"half' + event).split(b"\n\n")
    assert (blocks[0], blocks[-1]) == (b'data: {"half', b"")
    *names, data = blocks[1].split(b"\n")
    assert len(blocks) == 3
    assert json.loads(data.removeprefix(b"data: "))["error"]["message"] == 'broke: "\n'
    assert names == ([b"event: error"] if name in NAMED_EVENTS else [])
    assert b"[DONE]" not in event


@pytest.mark.parametrize("name", [DialectName.RESPONSES, DialectName.STORED])
def test_a_responses_event_has_its_fields_at_the_top_too(name):
    event = DIALECTS[name].error_event(EngineFault("x", reason=Reason.STREAM_BROKEN))
    payload = json.loads(event.partition(b"data: ")[2])
    assert (payload["type"], payload["code"], payload["message"]) == ("error", "stream_broken", "x")
