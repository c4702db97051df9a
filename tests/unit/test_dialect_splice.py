"""What is spliced into bodies, asking for usage and for full reports: exact to the byte everywhere else."""

import json

import pytest

from turnwise.dialects import DIALECTS
from turnwise.dialects.splice import with_report
from turnwise.errors import ClientFault
from turnwise.types import DialectName

CHAT, COMPLETIONS = DIALECTS[DialectName.CHAT], DIALECTS[DialectName.COMPLETIONS]
SPLICED = b'"stream_options":{"include_usage":true}'


@pytest.mark.parametrize(
    ("options", "spliced"),
    [
        (b"null", b'{"include_usage":true}'),
        (b"{}", b'{"include_usage":true}'),
        (b"{ }", b'{"include_usage":true }'),
        (b'{ "x" : 1}', b'{"include_usage":true, "x" : 1}'),
        (b'{"x":1, "include_usage" : false }', b'{"x":1, "include_usage" : true }'),
        (b'{"include_usage":null}', b'{"include_usage":true}'),
        (b'{"continuous_usage_stats":false}', b'{"include_usage":true,"continuous_usage_stats":false}'),
        (b'{"include_usage":true}', None),
        (b'{"include_usage":1}', None),
        (b'{"continuous_usage_stats":true}', None),
        (b'"yes"', None),
        (b"[]", None),
    ],
)
def test_usage_is_spliced_into_existing_options_exactly(options, spliced):
    before, after = b' {"stream":true,"model":"m", "stream_options": ', b' ,"messages":[{"role":"user"}] } '
    call = CHAT.read(before + options + after, (), splice_usage=True)
    assert call.body == before + (options if spliced is None else spliced) + after
    assert call.adds_usage == (spliced is not None)
    json.loads(call.body)


def test_usage_is_spliced_behind_the_opening_brace_of_a_stream_that_lacks_it():
    for dialect, member in ((CHAT, b'"messages":[{"role":"user"}]'), (COMPLETIONS, b'"prompt":"x"')):
        body = b'\n{ "model":"m",' + member + b',"stream":true}\n'
        call = dialect.read(body, (), splice_usage=True)
        assert call.body == b"\n{" + SPLICED + b"," + body[2:]
        assert call.adds_usage
        assert dialect.read(body, (), splice_usage=False).body == body


def test_no_usage_is_asked_for_where_there_is_no_stream():
    for member in (b"", b',"stream":false', b',"stream":null'):
        body = b'{"model":"m","messages":[{"role":"user"}]' + member + b"}"
        call = CHAT.read(body, (), splice_usage=True)
        assert (call.adds_usage, call.body) == (False, body)


def test_repeated_include_usage_is_refused_by_its_path():
    body = b'{"model":"m","prompt":"x","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}'
    with pytest.raises(ClientFault) as caught:
        COMPLETIONS.read(body, (), splice_usage=True)
    assert (caught.value.status, caught.value.param) == (400, "stream_options.include_usage")


@pytest.mark.parametrize("name", [DialectName.MESSAGES, DialectName.RESPONSES])
def test_apis_that_always_tell_usage_are_never_spliced(name):
    body = b'{"model":"m","stream":true,"input":"x","messages":[{"role":"user"}]}'
    call = DIALECTS[name].read(body, (), splice_usage=True)
    assert (call.is_stream, call.adds_usage, call.body) == (True, False, body)


REPORT = b'"kv_cache_report_mode":"full"'


@pytest.mark.parametrize(
    ("extras", "spliced"),
    [
        (b"null", b"{" + REPORT + b"}"),
        (b"{}", b"{" + REPORT + b"}"),
        (b"{ }", b"{" + REPORT + b" }"),
        (b'{ "x" : 1}', b"{" + REPORT + b', "x" : 1}'),
        (b'{"kv_cache_report_mode":"full"}', None),
        (b'{"kv_cache_report_mode":"incremental","x":1}', None),
        (b'{"kv_cache_report_mode":null}', None),
        (b'{"x":1,"x":2}', None),
        (b'"yes"', None),
        (b"[]", None),
    ],
)
def test_a_full_report_is_spliced_into_existing_extras_exactly(extras, spliced):
    before, after = b' {"stream":true,"model":"m", "vllm_xargs": ', b' ,"messages":[{"role":"user"}] } '
    assert with_report(before + extras + after) == (None if spliced is None else before + spliced + after)


def test_a_full_report_is_spliced_behind_the_opening_brace_of_a_body_that_has_no_extras():
    body = b'\n{ "model":"m","messages":[{"vllm_xargs":{}}]}\n'
    assert with_report(body) == b'\n{"vllm_xargs":{' + REPORT + b"}," + body[2:]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model":"m","model":"n"}', b"\xff"])
def test_nothing_is_spliced_into_what_is_no_body(body):
    assert with_report(body) is None


@pytest.mark.parametrize("name", [DialectName.CHAT, DialectName.COMPLETIONS, DialectName.MESSAGES, DialectName.RESPONSES])
@pytest.mark.parametrize(
    ("extras", "asks"),
    [
        ({"kv_cache_report_mode": "full"}, True),
        ({"x": 1, "kv_cache_report_mode": "full"}, True),
        ({"kv_cache_report_mode": "incremental"}, False),
        ({"kv_cache_report_mode": 5}, False),
        ({"x": {"kv_cache_report_mode": "full"}}, False),
        ("full", False),
        (None, False),
    ],
)
def test_a_client_that_asks_for_a_full_report_itself_is_noticed(name, extras, asks):
    for indent in (None, 1):  # the quick way to read a body, and the thorough one
        fields = {
            "model": "m",
            "prompt": "x",
            "messages": [{"role": "user"}],
            "input": [{"role": "user"}],
            "vllm_xargs": extras,
        }
        body = json.dumps(fields, indent=indent).encode()
        for _ in range(2):  # learned, then remembered
            call = DIALECTS[name].read(body, (), splice_usage=True)
            assert (call.asks_report, call.body) == (asks, body)
