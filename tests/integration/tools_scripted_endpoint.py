"""A tool server over HTTP that breaks in ways in which no SDK lets one break; in the test's own process."""

import asyncio
import json
from contextlib import asynccontextmanager

from aiohttp import web

MODERN, LEGACY = "2026-07-28", "2025-11-25"
SCHEMA = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "n": {"type": "integer"}}}


class Endpoint:
    """Answers as each tool's name says, and remembers all it was sent."""

    def __init__(self, *, is_modern=True):
        self.is_modern, self.seen, self.cancelled = is_modern, [], asyncio.Event()
        self.sessions, self.num_ended, self.replies = set(), 0, asyncio.Queue()
        self.url, self.port, self.num_flooded = "", 0, 0

    @asynccontextmanager
    async def serving(self, port=0):
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/mcp", self.handle)
        application.router.add_route("*", "/elsewhere", self.handle)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def handle(self, request):
        body = await request.read()
        message = json.loads(body) if body else {}
        self.seen.append((request.method, request.path, dict(request.headers), body.decode()))
        if not self.is_modern and message.get("method") != "initialize":
            if request.headers.get("Mcp-Session-Id") not in self.sessions:
                return web.Response(status=404)
            if request.method != "POST":
                self.num_ended += request.method == "DELETE"
                return web.Response(status=405 if request.method == "GET" else 200)
        if "method" not in message or "id" not in message:
            if "method" not in message:
                self.replies.put_nowait(message)
            return web.Response(status=202)
        return await self.answer(request, message)

    async def answer(self, request, message):
        method, number, params = message["method"], message["id"], message.get("params", {})
        if method == "server/discover" and self.is_modern:
            return result(number, {"supportedVersions": [MODERN], "capabilities": {"tools": {}}})
        if method == "initialize" and not self.is_modern:
            self.sessions.add(f"session-{len(self.sessions)}")
            headers = {"Mcp-Session-Id": max(self.sessions)}
            return result(number, {"protocolVersion": LEGACY, "capabilities": {"tools": {}}}, headers=headers)
        if method == "tools/list":
            broken = {"type": "object", "properties": {"a": {"type": "number", "x-mcp-header": "A"}}}
            tools = [{"name": "echo", "inputSchema": SCHEMA}, {"name": "sloppy", "inputSchema": broken}]
            return result(number, {"tools": tools})
        if method == "tools/call":
            return await getattr(self, params["name"])(request, message)
        error = {"code": -32601, "message": "no such method"}
        return web.json_response({"jsonrpc": "2.0", "id": number, "error": error}, status=404)

    async def echo(self, request, message):
        return result(message["id"], message["params"].get("arguments", {}))

    async def redirect(self, request, message):
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async def forbid(self, request, message):
        return web.Response(status=401, text="secret reasons")

    async def fail(self, request, message):
        return web.Response(status=503, text="<html>")

    async def compress(self, request, message):
        return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    async def babble(self, request, message):
        return web.Response(body=b"\xff\x00", content_type="application/json")

    async def drop(self, request, message):
        request.transport.abort()
        return web.Response()

    async def declare_large(self, request, message):
        return web.Response(body=b"x" * 5_000_000, content_type="application/json")

    async def large(self, request, message):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 1_000_000)
        return response

    async def large_event(self, request, message):
        response = await events(request)
        await response.write(b"data: ")
        for _ in range(1000):
            await response.write(b"x" * 1_000_000)
        return response

    async def hang(self, request, message):
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def trickle(self, request, message):
        response = await events(request)
        try:
            while True:
                await response.write(b": still there\n\n")
                await asyncio.sleep(0.01)
        finally:
            self.cancelled.set()

    async def whole(self, request, message):
        return result(message["id"], {"text": "x" * 3_000_000})

    async def whole_event(self, request, message):
        response = await events(request)
        await event(response, {"id": message["id"], "result": {"text": "x" * 3_000_000}})
        return response

    async def gossip(self, request, message):
        response = await events(request)
        told = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\n' * 100
        await response.write(told + b'data: {"jsonrpc":"2.0","id":%d,"result":{}}\n\n' % message["id"])
        return response

    async def flood(self, request, message):
        piece = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\n' * 1000
        await self.without_end(await events(request), piece)

    async def flood_blank(self, request, message):
        await self.without_end(await events(request), b"\n" * 65536)

    async def without_end(self, response, piece):
        try:
            while True:
                await response.write(piece)
                self.num_flooded += len(piece)
        finally:
            self.cancelled.set()

    async def stop_short(self, request, message):
        response = await events(request)
        await response.write(b": bye\n\n")
        return response

    async def report(self, request, message):
        token = message["params"]["_meta"]["progressToken"]
        response = await events(request)
        await event(response, {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        await event(response, {"id": message["id"], "result": {"reported": True}})
        return response

    async def inquire(self, request, message):
        response = await events(request)
        await event(response, {"id": "q", "method": "elicitation/create", "params": {"message": "?"}})
        reply = await self.replies.get()
        await event(response, {"id": message["id"], "result": {"heard": reply}})
        return response


def result(number, found, **more):
    return web.json_response({"jsonrpc": "2.0", "id": number, "result": found}, **more)


async def events(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def event(response, message):
    await response.write(b"event: message\ndata: " + json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n\n")
