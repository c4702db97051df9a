"""What a replica receives of requests that real clients sent: the same bytes, but for the listed edits."""

import contextlib
import json
from pathlib import Path

import pytest
import pytest_asyncio

FOLDER = Path(__file__).parents[1] / "data" / "captures"
FILES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))
OURS = {"x-request-id", "accept-encoding", "x-session-id", "traceparent"}
OF_PROMPTS = {"x-session-id", "traceparent"}
"""Those of them that only calls with a prompt get."""
DROPPED = {"baggage"}
"""Fields that an edit of docs/edits.md sets."""
UNDERSTOOD = {"/v1/chat/completions", "/v1/messages", "/v1/responses"}
"""Paths whose prompts are read, so that the replica's KV events are stamped."""
OF_THE_CONNECTION = {"host", "connection", "content-length"}
USAGE = b'"stream_options":{"include_usage":true},'


def load_requests(name):
    rows = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["method"] == "POST"]


def encode(body, separators):
    return json.dumps(body, separators=separators, ensure_ascii=False).encode()


def fields_of(head):
    lines = head.decode("latin-1").split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines if line)]


def gets_usage_spliced(row):
    """Whether the listed edit applies: a stream of an understood API whose client did not ask for usage."""
    body = row["body"]
    return row["path"] == "/v1/chat/completions" and body.get("stream") is True and not body.get("stream_options")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(faulty):
    """A proxy before one recording replica for each model that the captures name."""
    models = sorted({row["body"]["model"] for name in FILES for row in load_requests(name)})
    async with contextlib.AsyncExitStack() as stack:
        replicas = {}
        for number, model in enumerate(models):
            replicas[model] = await faulty.Replica(f"r{number}", faulty.answer_well, model=model).start()
            stack.push_async_callback(replicas[model].stop)
        yield await faulty.start_proxy(stack, [(replica.name, replica.url) for replica in replicas.values()]), replicas


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
@pytest.mark.parametrize("name", FILES)
async def test_a_replica_receives_what_the_client_sent_but_for_the_listed_edits(fleet, faulty, name, separators):
    proxy, replicas = fleet
    client = await faulty.RawClient.connect(proxy.url)
    for row in load_requests(name):
        replica = replicas[row["body"]["model"]]
        sent = encode(row["body"], separators)
        headers = [(key, value) for key, value in row["headers"] if key.lower() not in OF_THE_CONNECTION]
        answer = await client.ask(row["path"], sent, headers)
        if "thread" in row["body"]:
            assert answer.status == 400
            assert json.loads(answer.body)["error"]["details"]["error_code"] == "thread_unsupported_request"
            assert not replica.paths, "a thread that no engine keeps never reaches one"
            continue
        if row["body"].get("previous_response_id") or row["body"].get("conversation"):
            assert answer.status == 404
            assert answer.fields["x-turnwise-reason"] == "unknown_response"
            assert not replica.paths, "what nobody holds is asked of nobody"
            continue
        assert answer.status == 200
        head, (path, _, body) = replica.heads.pop(), replica.paths.pop()
        assert path == row["path"]
        assert body == (b"{" + USAGE + sent[1:] if gets_usage_spliced(row) else sent)
        received = fields_of(head)
        touched = OURS if row["path"].partition("?")[0] in UNDERSTOOD else OURS - OF_PROMPTS
        assert [field for field in received if field[0].lower() not in touched | OF_THE_CONNECTION] == [
            field for field in headers if field[0].lower() not in touched | DROPPED
        ]
        ours = {key.lower(): value for key, value in received if key.lower() in touched}
        assert len(ours) == sum(key.lower() in touched for key, _ in received), "none of ours stands there twice"
        assert ours.keys() == touched
        assert ours["accept-encoding"] == "identity"
        assert ours["x-request-id"] == answer.fields["x-request-id"]
    client.close()


async def test_a_client_sees_the_stream_that_it_would_see_without_the_proxy(serve, faulty):
    """The usage chunk that only the proxy asked for is hidden; all else is the replica's, byte for byte."""
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}\n\n'

    async def answer_with_usage(_replica, writer):
        parts = (faulty.event("one"), faulty.event("two"), usage, b"data: [DONE]\n\n")
        writer.write(faulty.STREAM_HEAD + b"".join(map(faulty.chunk, parts)) + b"0\r\n\r\n")
        await writer.drain()
        return True

    replica = await faulty.Replica("r", answer_with_usage).start()
    proxy = await serve(replica)
    client = await faulty.RawClient.connect(proxy.url)
    asked = {**faulty.CHAT, "stream_options": {"include_usage": True}}
    unasked = await client.ask("/v1/chat/completions", json.dumps(faulty.CHAT).encode())
    whole = await client.ask("/v1/chat/completions", json.dumps(asked).encode())
    client.close()
    assert unasked.body == faulty.event("one") + faulty.event("two") + b"data: [DONE]\n\n"
    assert whole.body == faulty.event("one") + faulty.event("two") + usage + b"data: [DONE]\n\n"
