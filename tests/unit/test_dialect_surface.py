import pytest

from turnwise.dialects import ROUTES, dialect_for_path, match
from turnwise.errors import ClientFault, Reason
from turnwise.types import DialectName

CONTROL_PATHS = (
    "/sleep", "/wake_up", "/collective_rpc", "/update_weights", "/start_weight_update", "/pause", "/resume", "/abort_requests",
    "/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache", "/server_info", "/scale_elastic_ep", "/invocations",
    "/v1/chat/completions/render", "/v1/completions/derender", "/v1/messages/render", "/inference/v1/abort_requests",
    "/release_kv_cache_memory", "/init_weight_transfer_engine", "/metrics", "/docs", "/openapi.json", "/v1/load_lora_adapter",
)  # fmt: skip


def fault_of(method: str, target: str, extra=()) -> ClientFault:
    with pytest.raises(ClientFault) as caught:
        match(method, target, extra)
    return caught.value


@pytest.mark.parametrize("path", [path for path in ROUTES if "{" not in path])
def test_a_listed_path_matches_with_its_method_and_any_query(path):
    assert match("POST", path) == ROUTES[path]
    assert match("POST", f"{path}?beta=true&x=/../sleep") == ROUTES[path]
    fault = fault_of("DELETE", path)
    assert (fault.status, fault.reason) == (405, Reason.METHOD_NOT_ALLOWED)
    assert fault.message == f"{path} takes POST, not DELETE"


def test_identifiers_in_paths_match_by_shape():
    route = match("GET", "/v1/responses/resp_0-A9?stream=true")
    assert (route.path, route.dialect, route.response_id) == ("/v1/responses/{id}", DialectName.STORED, "resp_0-A9")
    route = match("POST", "/v1/responses/resp_1/cancel")
    assert (route.path, route.dialect, route.response_id) == ("/v1/responses/{id}/cancel", DialectName.STORED, "resp_1")
    assert match("POST", "/v1/responses").response_id is None
    assert fault_of("POST", "/v1/responses/resp_1").status == 405
    assert fault_of("GET", "/v1/responses/resp_1/cancel").status == 405


@pytest.mark.parametrize("path", CONTROL_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_controls_a_replica_is_not_there(method, path):
    fault = fault_of(method, path)
    assert (fault.status, fault.reason) == (404, Reason.UNKNOWN_PATH)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/completions/", "//v1/completions", "/v1//completions", "/v1/./completions", "/v1/x/../completions",
        "/v1/%63ompletions", "/v1/completions%2f", "/V1/completions", "/v1/completions;x", "/v1/completions#x",
        "/v1/completions\n", "http://h/v1/completions", "v1/completions",
        "", "/", "*", "/v1/completions/../../sleep", "/v1/responses/",
        "/v1/responses/../completions", "/v1/responses/a%2fb", "/v1/responses/{id}", "/v1/responses/a/b",
        "/v1/responses/a/cancel/", "/v1/responses/" + "a" * 129, "/v1/responses/a\n", "/v1/responses/é", "/v1/responses/..",
    ],
)  # fmt: skip
def test_no_other_spelling_of_a_path_matches(target):
    assert fault_of("POST", target).status == 404
    assert fault_of("GET", target).status == 404


def test_a_path_that_the_operator_adds_matches_exactly_and_with_any_method():
    for method in ("GET", "POST", "DELETE"):
        assert match(method, "/generate?x", ("/generate",)).dialect is DialectName.OPENAI
    assert fault_of("POST", "/generate/", ("/generate",)).status == 404
    assert match("POST", "/v1/messages/render", ("/v1/messages/render",)).dialect is DialectName.MESSAGES


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", DialectName.CHAT),
        ("/v1/completions", DialectName.COMPLETIONS),
        ("/v1/messages", DialectName.MESSAGES),
        ("/v1/messages/count_tokens", DialectName.COUNT_TOKENS),
        ("/v1/messages/batches", DialectName.MESSAGES),
        ("/v1/messagesx", DialectName.OPENAI),
        ("/v1/responses/resp_1", DialectName.RESPONSES),
        ("/v1/responses/%2e%2e/x", DialectName.RESPONSES),
        ("/sleep", DialectName.OPENAI),
        ("", DialectName.OPENAI),
    ],
)
def test_an_error_takes_the_shape_of_the_api_that_the_path_belongs_to(path, dialect):
    assert dialect_for_path(path) is dialect
