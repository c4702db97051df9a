"""Where spans go: settings before variables, those of traces before general ones; what cannot be used refuses to start."""

import pytest

from turnwise.errors import SettingsError
from turnwise.proxy.export.otlp.resource import process_resource
from turnwise.proxy.export.otlp.target import find_target
from turnwise.settings import TraceSettings

GENERAL, TRACES = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"


def found(environ=(), **settings):
    return find_target(TraceSettings(**settings), dict(environ))


def test_nothing_is_sent_where_nobody_names_an_endpoint():
    assert found() is None
    assert found({f"{GENERAL}HEADERS": "a=b"}) is None


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://jaeger:4318", "http://jaeger:4318/v1/traces"),
        ("http://jaeger:4318/", "http://jaeger:4318/v1/traces"),
        ("http://jaeger:4318/v1/traces", "http://jaeger:4318/v1/traces"),
        ("https://collector/otlp", "https://collector/otlp/v1/traces"),
    ],
)
def test_an_endpoint_of_the_settings_may_be_a_base(endpoint, url):
    assert found(endpoint=endpoint).url == url


def test_the_settings_go_before_the_variables():
    variables = {f"{GENERAL}ENDPOINT": "http://other:1", f"{GENERAL}PROTOCOL": "grpc", f"{GENERAL}TIMEOUT": "1"}
    made = found(variables, endpoint="http://jaeger:4318", timeout_s=3.0)
    assert (made.url, made.protocol, made.timeout_s) == ("http://jaeger:4318/v1/traces", "http/protobuf", 3.0)


def test_the_general_endpoint_is_a_base_and_that_of_traces_is_used_as_it_stands():
    assert found({f"{GENERAL}ENDPOINT": "http://c:4318/base"}).url == "http://c:4318/base/v1/traces"
    both = {f"{GENERAL}ENDPOINT": "http://c:4318", f"{TRACES}ENDPOINT": "http://t:9/intake?key=1"}
    assert found(both).url == "http://t:9/intake?key=1"


def test_variables_say_protocol_and_timeout_and_leave_the_rest_to_the_settings():
    made = found({f"{TRACES}ENDPOINT": "http://c:4317", f"{TRACES}PROTOCOL": "grpc", f"{GENERAL}TIMEOUT": "2500"})
    assert (made.protocol, made.timeout_s, made.address) == ("grpc", 2.5, "c:4317")
    assert found({f"{TRACES}ENDPOINT": "http://c:1/v1/traces"}, timeout_s=7.0).timeout_s == 7.0


@pytest.mark.parametrize(
    ("endpoint", "address", "is_secure"),
    [
        ("c:4317", "c:4317", False),
        ("http://c", "c:4317", False),
        ("https://c", "c:443", True),
        ("http://[::1]:9", "[::1]:9", False),
    ],
)
def test_an_address_for_grpc_needs_no_scheme_and_no_port(endpoint, address, is_secure):
    made = found({f"{GENERAL}ENDPOINT": endpoint, f"{GENERAL}PROTOCOL": "grpc"})
    assert (made.address, made.is_secure) == (address, is_secure)


def test_headers_are_percent_encoded_pairs_and_those_of_traces_win():
    variables = {
        f"{GENERAL}ENDPOINT": "http://c:1",
        f"{GENERAL}HEADERS": "Api-Key=one%20two, x=general",
        f"{TRACES}HEADERS": "x=traces",
    }
    assert found(variables).headers == {"api-key": "one two", "x": "traces"}


def test_compression_is_asked_for_by_variable():
    assert not found(endpoint="http://c:1").is_gzip
    assert found({f"{GENERAL}COMPRESSION": "gzip"}, endpoint="http://c:1").is_gzip


@pytest.mark.parametrize("value", ["true", "TRUE", " true "])
def test_telemetry_that_is_disabled_sends_nothing(value):
    assert found({"OTEL_SDK_DISABLED": value}, endpoint="http://c:1") is None


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({f"{GENERAL}ENDPOINT": "ftp://c"}, f"{GENERAL}ENDPOINT"),
        ({f"{TRACES}ENDPOINT": "http://[::1"}, f"{TRACES}ENDPOINT"),
        ({f"{GENERAL}ENDPOINT": "http://c:99999"}, f"{GENERAL}ENDPOINT"),
        ({f"{GENERAL}ENDPOINT": "http://c:1", f"{GENERAL}PROTOCOL": "http/json"}, f"{GENERAL}PROTOCOL"),
        ({f"{GENERAL}ENDPOINT": "http://c:1", f"{TRACES}TIMEOUT": "10s"}, f"{TRACES}TIMEOUT"),
        ({f"{GENERAL}ENDPOINT": "http://c:1", f"{GENERAL}TIMEOUT": "0"}, f"{GENERAL}TIMEOUT"),
        ({f"{GENERAL}ENDPOINT": "http://c:1", f"{GENERAL}COMPRESSION": "zstd"}, f"{GENERAL}COMPRESSION"),
        ({f"{GENERAL}ENDPOINT": "http://c:1", f"{GENERAL}HEADERS": "novalue"}, f"{GENERAL}HEADERS"),
        ({f"{GENERAL}ENDPOINT": "http://c:1", f"{TRACES}HEADERS": "a=b%0d%0ac"}, f"{TRACES}HEADERS"),
        ({f"{GENERAL}ENDPOINT": "http://c:1", f"{TRACES}HEADERS": "a=%C3%A4"}, f"{TRACES}HEADERS"),
    ],
)
def test_a_variable_that_cannot_be_used_refuses_to_start_and_is_named(variables, named):
    with pytest.raises(SettingsError, match=named):
        found(variables)


def test_a_refused_header_is_not_printed():
    with pytest.raises(SettingsError) as refused:
        found({f"{GENERAL}ENDPOINT": "http://c:1", f"{GENERAL}HEADERS": "s3cret"})
    assert "s3cret" not in str(refused.value)


def test_the_process_is_named_turnwise_unless_the_variables_name_it(monkeypatch):
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)
    ours = process_resource()
    assert ours["service.name"] == "turnwise"
    assert ours["service.instance.id"] != process_resource()["service.instance.id"]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "router")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab,service.version=9")
    named = process_resource()
    assert (named["service.name"], named["deployment.environment"], named["service.version"]) == ("router", "lab", "9")
