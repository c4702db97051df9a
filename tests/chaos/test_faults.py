"""What a client sees when something behind or before the proxy goes wrong, with real processes and sockets."""

import asyncio
import json
import signal

import httpx


async def test_a_replica_that_closes_before_its_first_byte_is_replaced(serve, faulty):
    async def close(_replica, _writer):
        return False

    bad = await faulty.Replica("bad", close).start()
    good = await faulty.Replica("good", faulty.answer_well).start()
    proxy = await serve(bad, good, arguments=["--policy", "round_robin"])
    async with httpx.AsyncClient(timeout=20) as http:
        answers = [await http.post(f"{proxy.url}/v1/chat/completions", json=faulty.CHAT) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all("good" in answer.text for answer in answers)
    assert good.calls == 4


async def test_a_replica_that_sent_only_its_head_is_replaced_and_the_client_sees_one_head(serve, faulty):
    async def head_only(_replica, writer):
        writer.write(faulty.STREAM_HEAD)
        await writer.drain()
        return False

    bad = await faulty.Replica("bad", head_only).start()
    good = await faulty.Replica("good", faulty.answer_well).start()
    proxy = await serve(bad, good, arguments=["--policy", "round_robin"])
    async with httpx.AsyncClient(timeout=20) as http:
        answers = [await http.post(f"{proxy.url}/v1/chat/completions", json=faulty.CHAT) for _ in range(2)]
    assert all(answer.status_code == 200 and "good" in answer.text for answer in answers)


async def test_a_replica_that_dies_after_its_first_byte_ends_the_stream_with_an_error_event(serve, faulty):
    async def die(_replica, writer):
        writer.write(faulty.STREAM_HEAD + faulty.chunk(faulty.event("first")))
        await writer.drain()
        return False

    bad = await faulty.Replica("bad", die).start()
    proxy = await serve(bad)
    async with httpx.AsyncClient(timeout=20) as http:
        answer = await http.post(f"{proxy.url}/v1/chat/completions", json=faulty.CHAT)
        again = await http.post(f"{proxy.url}/v1/chat/completions", json=faulty.CHAT)
    events = [line for line in answer.text.split("\n\n") if line.strip()]
    assert "first" in events[0]
    assert json.loads(events[-1].strip().removeprefix("data: "))["error"]["code"] == "stream_broken"
    assert "[DONE]" not in answer.text
    assert again.status_code == 200, "the client's connection works on"
    assert bad.calls == 2, "nothing is tried twice after the first byte"


async def test_a_client_that_leaves_ends_its_call_at_the_replica(serve, faulty):
    async def stream_for_ever(replica, writer):
        writer.write(faulty.STREAM_HEAD + faulty.chunk(faulty.event("first")))
        await writer.drain()
        await replica.client_left.wait()
        return False

    replica = await faulty.Replica("r", stream_for_ever).start()
    proxy = await serve(replica)
    async with httpx.AsyncClient(timeout=20) as http:
        async with http.stream("POST", f"{proxy.url}/v1/chat/completions", json=faulty.CHAT) as answer:
            async for _ in answer.aiter_bytes():
                break
        async with asyncio.timeout(20):
            await replica.client_left.wait()
        async with asyncio.timeout(20):
            while (await http.get(f"{proxy.admin_url}/v1/replicas")).json()["replicas"][0]["num_running"]:
                pass


async def test_a_client_that_leaves_before_any_answer_ends_its_call_too(serve, faulty):
    called = asyncio.Event()

    async def think(replica, _writer):
        called.set()
        await replica.client_left.wait()
        return False

    replica = await faulty.Replica("r", think).start()
    proxy = await serve(replica)
    host, port = proxy.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(faulty.CHAT).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(20):
        await called.wait()
        writer.transport.abort()
        await replica.client_left.wait()


async def test_a_slow_reader_of_100_mb_never_grows_memory(serve, faulty):
    size = 100 * 1024 * 1024
    piece = b"x" * 65536
    sent = 0

    async def flood(_replica, writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(piece)
            sent += len(piece)
            await writer.drain()
        return True

    replica = await faulty.Replica("r", flood).start()
    proxy = await serve(replica)
    before = proxy.resident_bytes()
    peak = received = 0
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("POST", f"{proxy.url}/v1/embeddings", json={"model": "m", "input": "x"}) as answer,
    ):
        held_back = await _until_stalled(lambda: sent)
        async for data in answer.aiter_bytes(65536):
            received += len(data)
            peak = max(peak, proxy.resident_bytes())
    assert held_back < size / 2, "the replica is not read further than the client reads"
    assert received == size
    assert peak - before < 16 * 1024 * 1024


async def _until_stalled(read):
    """Wait until a counter has stopped moving, and give it."""
    last = -1
    while last != read():
        last = read()
        for _ in range(2000):
            await asyncio.sleep(0)
    return last


async def test_a_signal_lets_running_calls_end_and_refuses_new_ones(serve, faulty):
    may_end = asyncio.Event()

    async def wait_then_end(replica, writer):
        writer.write(faulty.STREAM_HEAD + faulty.chunk(faulty.event("first")))
        await writer.drain()
        await may_end.wait()
        return await faulty_end(writer)

    async def faulty_end(writer):
        writer.write(faulty.chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
        return True

    replica = await faulty.Replica("r", wait_then_end).start()
    proxy = await serve(replica)
    async with (
        httpx.AsyncClient(timeout=20) as http,
        http.stream("POST", f"{proxy.url}/v1/chat/completions", json=faulty.CHAT) as answer,
    ):
        chunks = answer.aiter_bytes()
        text = await anext(chunks)
        proxy.process.send_signal(signal.SIGTERM)
        await _until_refused(proxy)
        may_end.set()
        async for data in chunks:
            text += data
    assert text.endswith(b"data: [DONE]\n\n")
    async with asyncio.timeout(20):
        assert await proxy.process.wait() == 0


async def _until_refused(proxy):
    host, port = proxy.url.removeprefix("http://").split(":")
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except (ConnectionRefusedError, ConnectionResetError):  # reset: it closed with this connection in its queue
                return
            writer.close()
            await asyncio.sleep(0)


async def test_a_replica_killed_and_started_again_comes_back(serve, faulty):
    one = await faulty.Replica("one", faulty.answer_well).start()
    two = await faulty.Replica("two", faulty.answer_well).start()
    proxy = await serve(one, two, arguments=["--policy", "round_robin"])
    port = one.server.sockets[0].getsockname()[1]
    await one.stop()
    async with httpx.AsyncClient(timeout=20) as http:
        answers = [await http.post(f"{proxy.url}/v1/chat/completions", json=faulty.CHAT) for _ in range(4)]
        assert all("two" in answer.text for answer in answers)
        await faulty.until_routable(proxy, 1)
        one.server = await asyncio.start_server(one._serve, "127.0.0.1", port)
        await faulty.until_routable(proxy, 2)
        calls = one.calls
        for _ in range(2):
            await http.post(f"{proxy.url}/v1/chat/completions", json=faulty.CHAT)
        assert one.calls == calls + 1


async def test_what_one_replica_serves_is_not_sent_to_another(serve, faulty):
    one = await faulty.Replica("one", faulty.answer_well, model="a").start()
    two = await faulty.Replica("two", faulty.answer_well, model="b").start()
    proxy = await serve(one, two)
    async with httpx.AsyncClient(timeout=20) as http:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"):
            body = {**faulty.CHAT, "model": "b", "max_tokens": 1, "input": "hello"}
            assert "two" in (await http.post(f"{proxy.url}{path}", json=body)).text
        models = (await http.get(f"{proxy.url}/v1/models")).json()
        missing = await http.post(f"{proxy.url}/v1/messages", json={**faulty.CHAT, "model": "c"})
    assert (one.calls, two.calls) == (0, 4)
    assert [model["id"] for model in models["data"]] == ["a", "b"]
    assert missing.status_code == 404
    assert missing.json()["type"] == "error"
