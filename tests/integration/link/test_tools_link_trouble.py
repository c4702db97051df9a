"""What is said on the local socket that is no message, or of another version, ends that connection alone."""

import asyncio
import contextlib
import logging

import pytest
from tests.integration.link.ends import PATIENCE_S, FakeRuns, announced, connected, gateway, settled_loop, told

from turnwise.tools_gateway.link import Link
from turnwise.tools_gateway.messages import (
    MAX_LINE_BYTES,
    VERSION,
    Hello,
    encode,
)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"type":"hello","version":1}\n{"type":"announced"}\n',
        b'{"type":"hello","version":1}\n{"type":"nothing"}\n',
        b'{"type":"hello","version":1}\n\xff\xfe\n',
        b'{"type":"settled","turn":"t","at":1.0}\n',
        b'{"type":"hello","version":1}\n' + b"[" * 100_000 + b"\n",
        b'{"type":"hello","version":1}\n' + b"x" * (MAX_LINE_BYTES + 1),
    ],
    ids=["http", "fields missing", "unknown", "binary", "no hello", "deep", "endless"],
)
async def test_a_proxy_that_says_what_is_no_message_is_closed_and_others_go_on(
    said: bytes, path: str, runs: FakeRuns, link: Link, caplog: pytest.LogCaptureFixture
):
    async with connected(gateway(path)) as proxy:
        await settled_loop(lambda: proxy.is_listening)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                await reader.read()
        await settled_loop(lambda: link.stats.malformed == 1)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        proxy.tell(announced())
        await runs.until(lambda: len(runs.told) == 1)
    (complaint,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert complaint.startswith("proxy `` has gone: the proxy ")


async def test_a_bug_in_what_becomes_of_a_message_does_not_end_the_link(
    path: str, runs: FakeRuns, link: Link, caplog: pytest.LogCaptureFixture
):
    runs.fails_at = announced("bad")
    async with connected(gateway(path)) as proxy:
        await settled_loop(lambda: proxy.is_listening)
        proxy.tell(announced("bad"))
        proxy.tell(announced("good"))
        await runs.until(lambda: len(runs.told) == 2)
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("answer", [encode(Hello(VERSION + 1, "newer")), b"SSH-2.0-OpenSSH\n", encode(told())])
async def test_a_proxy_tells_nothing_to_what_speaks_another_language_and_says_so_once(
    answer: bytes, path: str, caplog: pytest.LogCaptureFixture
):
    left = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        left.set()

    server = await asyncio.start_unix_server(greet, path)
    async with connected(gateway(path)) as proxy:
        await settled_loop(lambda: "the link to the tools gateway" in caplog.text)
        assert not proxy.is_listening
        proxy.tell(announced())
        assert proxy.stats.told == 0
    await asyncio.wait_for(left.wait(), PATIENCE_S)
    server.close()
    await server.wait_closed()
    assert [record.levelno for record in caplog.records if "has ended" in record.message] == [logging.ERROR]
