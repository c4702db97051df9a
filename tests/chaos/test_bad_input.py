"""A request that cannot be served: a 4xx in the caller's dialect, and a connection that works on or is closed."""

import asyncio
import gzip
import itertools
import json

import httpx
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT, COMPLETIONS, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/tokenize"
MESSAGES, RESPONSES, EMBEDDINGS = "/v1/messages", "/v1/responses", "/v1/embeddings"
UNDERSTOOD = (CHAT, COMPLETIONS)
PATHS = (*UNDERSTOOD, MESSAGES, RESPONSES, EMBEDDINGS, TOKENIZE)

GOOD = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "prompt": "hello", "input": "hello", "max_tokens": 2}
RAW = json.dumps(GOOD).encode()
DEPTH = 1_000_000
"""Deeper than any parser goes; Python 3.14 bounds it by the stack alone."""

UNREADABLE = {
    "empty": b"",
    "only white space": b" \n",
    "open": b"{",
    "list": b"[]",
    "string": b'"model"',
    "number": b"1",
    "null": b"null",
    "garbage behind": RAW + b"x",
    "second document behind": RAW + b"{}",
    "NUL behind": RAW + b"\0",
    "NUL in a string": RAW.replace(b"hello", b"he\0llo"),
    "byte order mark": b"\xef\xbb\xbf" + RAW,
    "UTF-16": RAW.decode().encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\3",
    "invalid UTF-8 in a string": RAW.replace(b"hello", b"he\xff\xfello"),
    "invalid UTF-8 in a key": RAW.replace(b'"role"', b'"r\xff"').replace(b'"prompt"', b'"\xff"'),
    "half a surrogate pair": RAW.replace(b"hello", b"\\ud800"),
    "deep list": b"[" * DEPTH + b"]" * DEPTH,
    "deep list, open": b"[" * DEPTH,
    "deep object": b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    "deep member": RAW[:-1] + b', "tools": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    "NaN": RAW[:-1] + b', "temperature": NaN}',
}


def body(**changes):
    return json.dumps({**GOOD, **changes}).encode()


def without(name):
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


NO_TEXT = (0, -1, 1.5, True, [], {}, ["m"])
NO_LIST = (0, 1.5, True, "x", {})
NO_COUNT = (1.5, "1", True, [], {}, [1])
NO_MESSAGES = (None, [], [1], ["x"], [None], [[]], *NO_LIST)
NO_CONTENT = (5, True, {}, [5], [None], [{"type": "nonsense"}], [{"text": "x"}])
NO_PROMPT = (None, 0, 1.5, True, {}, [], "", [None], [[]], [1, "x"], ["x", 1], [-1], [10**30], [[1, [2]]])


def faults_of_both():
    """Field, value (or the whole body, as bytes), for what chat and completions share."""
    yield from (("model", value) for value in (None, "", *NO_TEXT))
    yield from (("stream", value) for value in (0, 1, "yes", "true", [], {}))
    yield from ((name, value) for name in ("n", "max_tokens") for value in (0, -1, *NO_COUNT))
    yield "n", 10**300
    yield "n", RAW[:-1] + b', "n": ' + b"9" * 5000 + b"}"
    yield "n", RAW[:-1] + b', "n": 1e400}'
    yield "model", without("model")
    yield "model", b'{"model": "z", ' + RAW[1:]
    yield "model", b'{"m\\u006fdel": "z", ' + RAW[1:]


def faults_of_chat():
    yield from (("messages", value) for value in NO_MESSAGES)
    yield from (("messages[0].content", message(content=value)) for value in NO_CONTENT)
    yield from (("messages[0].role", message(role=value)) for value in (5, None, [], {}, "nobody"))
    yield "messages[0]", body(messages=[{"content": "x"}])
    yield "messages[0].tool_call_id", message(role="tool", tool_call_id="c1")
    yield "messages", without("messages")
    yield "messages", RAW[:-1] + b', "messages": []}'
    yield "max_completion_tokens", "9"
    yield "tools", {}
    yield "stream_options", body(stream=True, stream_options=[])


def faults_of_completions():
    yield from (("prompt", value) for value in NO_PROMPT)
    yield "prompt", without("prompt")


def faults_of_tokenize():
    yield from (("model", value) for value in NO_TEXT)
    yield from (("prompt", body(messages=None, prompt=value)) for value in (None, 0, True, [], {}))
    yield from (("messages", value) for value in (0, "x", {}, [1], []))


def message(**changes):
    return body(messages=[{"role": "user", "content": "x", **changes}])


AT_FAULT = [
    (path, field, value if isinstance(value, bytes) else body(**{field: value}))
    for path, faults in (
        (CHAT, (*faults_of_both(), *faults_of_chat())),
        (COMPLETIONS, (*faults_of_both(), *faults_of_completions())),
        (TOKENIZE, tuple(faults_of_tokenize())),
    )
    for field, value in faults
]


def check_shape(path, answer):
    """The error's message and field; fails where the body has not the shape of the path's API."""
    assert 400 <= answer.status < 500
    assert answer.fields["content-type"].startswith("application/json")
    given = json.loads(answer.body)
    if path == MESSAGES:
        assert given["type"] == "error"
        assert given["error"].keys() == {"type", "message"}
    else:
        assert given["error"].keys() == {"message", "type", "param", "code"}
    assert given["error"]["message"]
    return given["error"]


async def ask_engine(url, path, raw):
    async with httpx.AsyncClient(timeout=20) as http:
        answer = await http.post(f"{url}{path}", content=raw, headers={"content-type": "application/json"})
        return answer.status_code, answer.content


async def check_works_on(client, answer):
    """The next request on the connection works, or the connection is closed."""
    if answer.fields.get("connection") == "close":
        async with asyncio.timeout(20):
            assert await client.reader.read() == b""
        return
    again = await client.ask(CHAT, RAW)
    assert again.status == 200
    assert json.loads(again.body)["choices"]


@pytest_asyncio.fixture(loop_scope="module")
async def client(sim_proxy, faulty):
    connected = await faulty.RawClient.connect(sim_proxy[0].url)
    yield connected
    connected.close()


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_cannot_be_read_gets_a_4xx(sim_proxy, client, path, kind):
    raw = UNREADABLE[kind]
    answer = await client.ask(path, raw)
    assert 400 <= answer.status < 500
    if "x-turnwise-reason" in answer.fields:
        error = check_shape(path, answer)
        assert path == MESSAGES or error["param"] == "body"
        assert answer.fields["x-turnwise-reason"] == "bad_request"
    else:
        assert path not in UNDERSTOOD
        assert (answer.status, answer.body) == await ask_engine(sim_proxy[1], path, raw), "the engine's own words come through"
    await check_works_on(client, answer)


@pytest.mark.parametrize(("path", "field", "raw"), AT_FAULT, ids=[f"{path}-{raw[:90].decode()}" for path, _, raw in AT_FAULT])
async def test_an_error_names_the_field_at_fault(sim_proxy, client, path, field, raw):
    answer = await client.ask(path, raw)
    error = check_shape(path, answer)
    assert error["param"].startswith(field)
    if "x-turnwise-reason" in answer.fields:
        assert f"`{field}" in error["message"]
    else:
        assert (answer.status, answer.body) == await ask_engine(sim_proxy[1], path, raw), "the engine's own words come through"
    await check_works_on(client, answer)


@pytest.mark.parametrize("model", ["nope", "", "m\0", "m\r\nx-evil: 1", "m" * 100_000, "\u2603"])
@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_model_is_a_404_in_the_callers_dialect(client, path, model):
    answer = await client.ask(path, body(model=model))
    if model:
        assert (answer.status, answer.fields["x-turnwise-reason"]) == (404, "unknown_model")
        error = check_shape(path, answer)
        assert error["type"] == "not_found_error"
        if path != MESSAGES:
            assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert "x-evil" not in answer.fields
    assert len(answer.body) < 1000, "a message quotes, it does not echo"
    await check_works_on(client, answer)


@pytest.mark.parametrize(("stream", "is_stream"), [(True, True), (False, False), (None, False)])
@pytest.mark.parametrize("path", UNDERSTOOD)
async def test_a_stream_is_what_was_asked_for(client, path, stream, is_stream):
    answer = await client.ask(path, body(stream=stream))
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n") == is_stream
    assert answer.fields["content-type"].startswith("text/event-stream" if is_stream else "application/json")
    await check_works_on(client, answer)


@pytest.mark.parametrize("cut_at", [0, 1, 40, len(RAW) - 1])
@pytest.mark.parametrize("path", PATHS)
async def test_a_body_cut_short_never_reaches_a_replica(sim_proxy, faulty, path, cut_at):
    proxy, _ = sim_proxy
    identity = f"cut-{path.strip('/').replace('/', '-')}-{cut_at}"
    client = await faulty.RawClient.connect(proxy.url)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {identity}\r\nContent-Length: {len(RAW)}\r\n\r\n"
    client.writer.write(head.encode() + RAW[:cut_at])
    client.writer.write_eof()
    async with asyncio.timeout(20):
        rest = await client.reader.read()
    assert rest == b"" or b" 400 " in rest.splitlines()[0]
    client.close()
    another = await faulty.RawClient.connect(proxy.url)
    assert (await another.ask(CHAT, RAW, [("x-request-id", f"after-{identity}")])).status == 200
    another.close()
    async with httpx.AsyncClient(timeout=20) as http:
        seen = [call["request_id"] for call in (await http.get(f"{proxy.admin_url}/v1/calls?limit=100")).json()["calls"]]
    assert f"after-{identity}" in seen
    assert identity not in seen


@pytest.mark.parametrize("path", [*UNDERSTOOD, TOKENIZE])
async def test_a_compressed_body_is_refused_as_engines_refuse_it(client, path):
    answer = await client.ask(path, gzip.compress(RAW), [("content-encoding", "gzip")])
    assert answer.status == 400
    check_shape(path, answer)
    await check_works_on(client, answer)


async def test_an_encoding_that_is_only_claimed_is_left_to_the_engine_to_judge(client):
    answer = await client.ask(CHAT, RAW, [("content-encoding", "gzip")])
    assert answer.status == 200
    await check_works_on(client, answer)


async def test_nothing_is_left_booked_after_any_mix_of_bad_and_good_requests(sim_proxy, faulty):
    proxy, _ = sim_proxy
    bad = [raw for _, _, raw in AT_FAULT[::7]] + list(UNREADABLE.values())

    async def mix(path, offset):
        client = await faulty.RawClient.connect(proxy.url)
        for number in itertools.islice(itertools.cycle(range(len(bad))), offset, offset + 12):
            await client.ask(path, bad[number])
            assert (await client.ask(CHAT, body(stream=True))).status == 200
        client.close()

    async with asyncio.TaskGroup() as group:
        for offset, path in enumerate(PATHS * 2):
            group.create_task(mix(path, offset))
    async with httpx.AsyncClient(timeout=20) as http:
        replica = (await http.get(f"{proxy.admin_url}/v1/replicas")).json()["replicas"][0]
    assert (replica["num_running"], replica["pending_prefill_tokens"]) == (0, 0)


@pytest.mark.parametrize("limit", ["x", "-1", "", "1.5", "9" * 5000])
async def test_a_wrong_question_to_the_admin_api_is_a_400_that_names_the_field(sim_proxy, limit):
    async with httpx.AsyncClient(timeout=20) as http:
        answer = await http.get(f"{sim_proxy[0].admin_url}/v1/calls", params={"limit": limit})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "limit"
