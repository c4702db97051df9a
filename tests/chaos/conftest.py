"""`turnwise serve` as a process in front of replicas that misbehave on purpose."""

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.chaos.workers import LIMIT_S, MAX_CONNECTIONS, Admin

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}


class Replica:
    """Speaks just enough HTTP to be discovered; `on_call(replica, writer)` decides what a chat call gets."""

    def __init__(self, name, on_call, model="m"):
        self.name = name
        self.on_call = on_call
        self.model = model
        self.calls = 0
        self.paths = []
        self.heads = []
        """Request heads of the calls as they came, byte for byte."""
        self.client_left = asyncio.Event()
        self.server = None
        self.connections = set()

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def stop(self):
        self.server.close()
        for writer in self.connections:
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            self.client_left.set()
        finally:
            self.connections.discard(writer)
            writer.transport.abort()

    async def _one(self, reader, writer):
        raw_head = await reader.readuntil(b"\r\n\r\n")
        head = raw_head.decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        if method == "GET":
            self._answer_get(path, writer)
            return True
        self.calls += 1
        self.paths.append((path, fields, body))
        self.heads.append(raw_head)
        watch = asyncio.create_task(reader.read(1))
        watch.add_done_callback(lambda _: self.client_left.set())
        keeps = await self.on_call(self, writer)
        if not keeps:
            return False
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        self.client_left.clear()
        return True

    def _answer_get(self, path, writer):
        bodies = {
            "/v1/models": json.dumps(
                {"object": "list", "data": [{"id": self.model, "root": self.model, "max_model_len": 4096}]}
            ),
            "/version": '{"version": "0.32.0"}',
            "/metrics": "",
            "/health": "",
        }
        body = bodies.get(path)
        status = "200 OK" if body is not None else "404 Not Found"
        encoded = (body or "{}").encode()
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(encoded)}\r\n\r\n".encode() + encoded)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


async def answer_well(replica, writer):
    """A whole short stream."""
    writer.write(STREAM_HEAD + chunk(event(replica.name)) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    await writer.drain()
    return True


class Proxy:
    """A running `turnwise serve`."""

    def __init__(self, process, url, admin_url):
        self.process = process
        self.url = url
        self.admin_url = admin_url

    def resident_bytes(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


async def start_proxy(stack, replicas, arguments=()):
    """Start `turnwise serve` before (name, url) pairs, and end it with `stack`."""
    command = [sys.executable, "-m", "turnwise.proxy", "serve", "--port", "0", "--admin-port", "0"]
    command += ["--log-level", "warning", "--set", "fleet.check_interval_s=0.1", *arguments]
    for name, url in replicas:
        command += ["--replica", f"{name}={url}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)

    async def stop():
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            await process.wait()
        process._transport.close()

    stack.push_async_callback(stop)
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    addresses = json.loads(line)
    proxy = Proxy(process, addresses["url"], addresses["admin_url"])
    await until_routable(proxy, len(replicas))
    return proxy


@pytest.fixture
async def serve():
    """Starts `turnwise serve` before given replicas; every process and replica is stopped after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*replicas, arguments=()):
            for replica in replicas:
                stack.push_async_callback(replica.stop)
            return await start_proxy(stack, [(replica.name, replica.url) for replica in replicas], arguments)

        yield start


@pytest.fixture
async def serve_sims():
    """Starts `turnwise serve` before the URLs of engines that the test serves itself."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*urls, arguments=()):
            return await start_proxy(stack, [(f"r{number}", url) for number, url in enumerate(urls)], arguments)

        yield start


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sim_proxy():
    """One `turnwise serve` before one embedded engine, for all tests of a module: the proxy, and the engine's own URL."""
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve_sim(SimEngine(SimOptions(model="m", speed=1000))))
        yield await start_proxy(stack, [("sim", address.url)]), address.url


class Answer:
    """One HTTP answer: `fields` has lower-case names."""

    def __init__(self, status, fields, body):
        self.status = status
        self.fields = fields
        self.body = body


class RawClient:
    """A kept connection that sends what it is told, which no HTTP library would; nothing may take longer than 20 s."""

    @classmethod
    async def connect(cls, url):
        client = cls()
        host, port = url.removeprefix("http://").split(":")
        client.reader, client.writer = await asyncio.open_connection(host, int(port))
        return client

    def close(self):
        self.writer.transport.abort()

    async def ask(self, path, body=b"", headers=(), method="POST"):
        """Send one request with its true length and read the answer."""
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        if not any(name.lower() == "host" for name, _ in headers):
            lines.append("Host: turnwise")
        lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return await self.read()

    async def read(self):
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            return Answer(int(head[0].split(" ")[1]), fields, await self._body(fields))

    async def _body(self, fields):
        if fields.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(fields["content-length"]))
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body


async def until_routable(proxy, count):
    async with httpx.AsyncClient() as http, asyncio.timeout(30):
        while True:
            replicas = (await http.get(f"{proxy.admin_url}/v1/replicas")).json()["replicas"]
            if sum(replica["is_routable"] for replica in replicas) == count:
                return
            await asyncio.sleep(0)


@pytest.fixture(scope="session")
def faulty():
    """What these tests are written in: replicas and the pieces of their answers."""

    class Faulty:
        CHAT = CHAT
        STREAM_HEAD = STREAM_HEAD
        Replica = Replica
        RawClient = RawClient
        chunk = staticmethod(chunk)
        event = staticmethod(event)
        answer_well = staticmethod(answer_well)
        until_routable = staticmethod(until_routable)
        start_proxy = staticmethod(start_proxy)

    return Faulty


@pytest.fixture
async def admin_of():
    async with httpx.AsyncClient(timeout=LIMIT_S, trust_env=False) as http:
        yield lambda proxy: Admin(proxy, http)


@pytest.fixture
async def clients(faulty):
    """Connects one client to each worker: `first, second = await clients(proxy, admin)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def connect(proxy, admin, count=2):
            found = {}
            before = await admin.num_connections()
            for _ in range(MAX_CONNECTIONS):
                client = await faulty.RawClient.connect(proxy.url)
                stack.callback(client.close)
                assert (await client.ask("/health", method="GET")).status == 200
                now = await admin.num_connections()
                (worker,) = [name for name in now if now[name] > before[name]]
                found.setdefault(worker, client)
                before = now
                if len(found) == count:
                    return [found[worker] for worker in sorted(found)]
            raise AssertionError("the kernel deals every connection to one worker")

        yield connect
