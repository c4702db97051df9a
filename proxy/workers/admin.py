"""The admin API of all workers, on the port where one process has its own; the pages are the same but for the word `worker`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from turnwise.admin.answers import as_json, refused, whole_number
from turnwise.admin.exposition import Format, rendered
from turnwise.admin.guard import guarded
from turnwise.proxy.admin import engine_traces
from turnwise.proxy.admin import page as web_page
from turnwise.proxy.admin.programs import DEFAULT_LIMIT
from turnwise.proxy.programs.values import Outcome
from turnwise.proxy.workers.metrics import WorkerFigures
from turnwise.proxy.workers.pages import merged_calls, merged_metrics, merged_programs, merged_replicas
from turnwise.proxy.workers.process import WorkerProcess
from turnwise.types import ReplicaId

TIMEOUT = aiohttp.ClientTimeout(total=5.0)
NOBODY = '{"error":{"message":"no worker serves"}}'


class Page(msgspec.Struct, frozen=True):
    """What one worker answered."""

    worker: int
    status: int
    body: bytes

    def json(self) -> Any:
        """Decode the body."""
        return msgspec.json.decode(self.body)

    def response(self) -> web.Response:
        """The same answer to whoever asked us."""
        return web.Response(body=self.body, status=self.status, content_type="application/json")


class WorkersAdmin:
    """Asks workers and merges what they say; `?worker=N` asks that one alone.

    Those of `replicas` that are told to drain are kept in `drained`, for workers to come.
    """

    def __init__(self, workers: Sequence[WorkerProcess], replicas: AbstractSet[ReplicaId], drained: set[ReplicaId]) -> None:
        self._workers = workers
        self._replicas = replicas
        self._drained = drained
        self._own_metrics = CollectorRegistry()
        self._own_metrics.register(WorkerFigures(workers))

    def application(self) -> web.Application:
        """Build the application with its routes."""
        app = web.Application(middlewares=[guarded, self._ask_one])
        app.add_routes(
            [
                web.get("/metrics", self.get_metrics),
                web.get("/health", self.get_health),
                web.get("/v1/workers", self.get_workers),
                web.get("/v1/replicas", self.get_replicas),
                web.get("/v1/calls", self.get_calls),
                web.post("/v1/replicas/{name}/{change:drain|undrain}", self.post_change),
                web.get("/{prefix:(v1/)?}programs", self.get_programs),
                web.get("/{prefix:(v1/)?}programs/{id}", self.get_program),
                web.post("/{prefix:(v1/)?}programs/{id}/end", self.post_end),
                web.post("/{prefix:(v1/)?}tool-runs", self.post_tool_runs),
                *web_page.routes(),
                web.post(engine_traces.PATH, self.post_traces),
                web.get("/{path:.*}", self.get_any),
            ]
        )
        return app

    async def get_metrics(self, request: web.Request) -> web.Response:
        """The metrics of every worker, and how many there are."""
        form = _form(request)
        pages = await self._ask_all("GET", "/metrics", form)
        own = rendered(self._own_metrics, form).decode()
        merged = merged_metrics({page.worker: page.body.decode() for page in pages}, own)
        return web.Response(body=merged.encode(), headers={"content-type": form.value})

    async def get_health(self, _: web.Request) -> web.Response:
        """Say that the supervisor is alive."""
        return as_json({"status": "alive"})

    async def get_workers(self, _: web.Request) -> web.Response:
        """The workers and their processes."""
        workers = [
            {
                "worker": worker.number,
                "pid": worker.pid,
                "is_serving": worker.is_serving,
                "num_restarts": max(0, worker.num_starts - 1),
            }
            for worker in self._workers
        ]
        return as_json({"workers": workers})

    async def get_replicas(self, request: web.Request) -> web.Response:
        """Every replica, well where all workers find it so."""
        pages = await self._ask_all("GET", request.path_qs)
        return as_json({"replicas": merged_replicas([page.json()["replicas"] for page in pages])})

    async def get_calls(self, request: web.Request) -> web.Response:
        """Recent calls of all workers, newest first."""
        pages = await self._ask_all("GET", request.path_qs)
        if pages[0].status != 200:
            return pages[0].response()
        limit = int(request.query.get("limit", "20"))
        return as_json({"calls": merged_calls({page.worker: page.json()["calls"] for page in pages}, limit)})

    async def get_programs(self, request: web.Request) -> web.Response:
        """Programs of all workers, the most recently used first."""
        pages = await self._ask_all("GET", request.path_qs)
        if pages[0].status != 200:
            return pages[0].response()
        limit = whole_number(request, "limit", DEFAULT_LIMIT)
        return as_json({"programs": merged_programs({page.worker: page.json()["programs"] for page in pages}, limit)})

    async def get_program(self, request: web.Request) -> web.Response:
        """One program, as the worker knows it that has most of its calls, and of its prompts."""
        pages = await self._ask_all("GET", request.path_qs)
        knowing = [page for page in pages if page.status == 200]
        return max(knowing, key=_how_much).response() if knowing else pages[0].response()

    async def post_end(self, request: web.Request) -> web.Response:
        """End a program at the worker that opened it, whichever that is."""
        pages = await self._ask_all("POST", request.path_qs)
        known = [page for page in pages if page.status == 200]
        ended = [page for page in known if page.json()["outcome"] != Outcome.OPEN]
        return (ended or known or pages)[0].response()

    async def post_tool_runs(self, request: web.Request) -> web.Response:
        """Tell every worker of tool runs, for any of them may get the call that brings a result."""
        body = await request.read()
        serving = [worker for worker in self._workers if worker.is_serving]
        pages = await _send(serving, "POST", request.path_qs, {}, body)
        if not pages:
            raise web.HTTPServiceUnavailable(text=NOBODY, content_type="application/json")
        taken = [page for page in pages if page.status == 200]
        return max(taken, key=lambda page: page.json()["taken"]).response() if taken else pages[0].response()

    async def post_change(self, request: web.Request) -> web.Response:
        """Drain a replica, or take it back, at every worker and at those that will be started."""
        name = ReplicaId(request.match_info["name"])
        if name not in self._replicas:
            return await self._post_any(request)
        before = name in self._drained
        self._note_drained(name, is_drained=request.match_info["change"] == "drain")
        for worker in self._workers:
            async with worker.starting:  # whoever starts now has read the list as it was
                pass
        try:
            return await self._post_any(request)
        except web.HTTPServiceUnavailable:
            self._note_drained(name, is_drained=before)
            raise

    async def post_traces(self, request: web.Request) -> web.Response:
        """Give engines' spans to every worker, for each knows its own calls; the first one sends them on."""
        body = await request.read()
        serving = [worker for worker in self._workers if worker.is_serving]
        headers = {name: request.headers[name] for name in ("content-type", "content-encoding") if name in request.headers}
        first = await _send(serving[:1], "POST", engine_traces.PATH, headers, body)
        if not first:
            raise web.HTTPServiceUnavailable(text=NOBODY, content_type="application/json")
        if first[0].status == 200:
            await _send(serving[1:], "POST", f"{engine_traces.PATH}?{engine_traces.HEARD_ONLY}", headers, body)
            return web.Response(content_type=engine_traces.PROTOBUF)
        return first[0].response()

    async def get_any(self, request: web.Request) -> web.Response:
        """Any other page as the first worker has it: all know the same."""
        return (await self._ask_all("GET", request.path_qs))[0].response()

    async def _post_any(self, request: web.Request) -> web.Response:
        return (await self._ask_all("POST", request.path_qs))[0].response()

    @web.middleware
    async def _ask_one(self, request: web.Request, handler: Any) -> web.StreamResponse:
        number = request.query.get("worker")
        if number is None or request.method != "GET":
            response: web.StreamResponse = await handler(request)
            return response
        asked = [worker for worker in self._workers if str(worker.number) == number]
        form = _form(request)
        pages = await _ask(asked, "GET", str(request.rel_url.without_query_params("worker")), form)
        if not pages:
            raise refused(f"no worker `{number}` serves", "worker", status=404)
        is_metrics = request.path == "/metrics"
        return web.Response(body=pages[0].body, headers={"content-type": form.value}) if is_metrics else pages[0].response()

    async def _ask_all(self, method: str, path: str, form: Format = Format.PLAIN) -> list[Page]:
        """What the workers that serve answer; raises HTTP 503 where none does."""
        pages = await _ask(self._workers, method, path, form)
        if not pages:
            raise web.HTTPServiceUnavailable(text=NOBODY, content_type="application/json")
        return pages

    def _note_drained(self, name: ReplicaId, *, is_drained: bool) -> None:
        if is_drained:
            self._drained.add(name)
        else:
            self._drained.discard(name)


def _form(request: web.Request) -> Format:
    return Format.wanted(request.headers.get("accept", ""))


async def _ask(workers: Sequence[WorkerProcess], method: str, path: str, form: Format) -> list[Page]:
    """What those of `workers` that serve answer, in their order; one that does not answer is left out."""
    return await _send(workers, method, path, {"accept": form.value})


async def _send(
    workers: Sequence[WorkerProcess], method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
) -> list[Page]:
    """Give a request to those of `workers` that serve, and say what they answer as `_ask` does."""
    asked = [
        _send_to(worker.number, worker.admin_path, method, path, headers, body)
        for worker in workers
        if worker.admin_path is not None
    ]
    return [page for page in await asyncio.gather(*asked) if page is not None]


async def _send_to(
    worker: int, socket: Path, method: str, path: str, headers: Mapping[str, str], body: bytes | None
) -> Page | None:
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=TIMEOUT) as http,
            http.request(method, f"http://worker{path}", headers=headers, data=body) as answer,
        ):
            return Page(worker, answer.status, await answer.read())
    except (aiohttp.ClientError, TimeoutError):
        return None


def _how_much(answer: Page) -> tuple[int, int]:
    """How many calls of a program a worker knows, and how many blocks of the prompts that came to it."""
    known = answer.json()
    return int(known["program"]["calls"]), len(known["graph"]["blocks"])
