"""A trace against a running proxy, over HTTP on the real clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp
import msgspec

from turnwise import names
from turnwise.proxy.replay.bodies import text_body
from turnwise.proxy.replay.drive import Pacing, play
from turnwise.proxy.replay.results import CallResult, ReplayError
from turnwise.proxy.replay.trace import Trace, TraceCall, TraceSession

SESSION_HEADER = "x-session-affinity"
CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 600.0
MAX_CONNECTIONS = 1024


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    prompt_tokens_details: _Details | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: dict[str, object] | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: dict[str, object] | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


async def model_of(url: str) -> str:
    """The first model that the proxy serves; raises `ReplayError` where it cannot be asked."""
    try:
        async with (
            aiohttp.ClientSession(base_url=url, timeout=aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_S)) as http,
            http.get("/v1/models") as response,
        ):
            listed = await response.json()
        return str(listed["data"][0]["id"])
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
        raise ReplayError(f"{url} does not say which models it serves: {str(error) or type(error).__name__}") from None


async def replay_live(
    trace: Trace, url: str, model: str, pacing: Pacing, on_call: Callable[[CallResult], None]
) -> list[CallResult]:
    """Play a trace against the proxy at `url`; results in the order in which calls were sent.

    Raises an `ExceptionGroup` of `ReplayError` where a call fails.
    """
    start = time.monotonic()
    results: list[CallResult] = []
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
    async with aiohttp.ClientSession(base_url=url, timeout=timeout, connector=connector) as http:

        async def send(session: TraceSession, call: TraceCall) -> None:
            result = await _call(http, trace, session, call, model=model, start=start)
            results.append(result)
            on_call(result)

        await play(trace.sessions, pacing, send)
    return sorted(results, key=lambda result: result.arrived_s)


async def _call(
    http: aiohttp.ClientSession, trace: Trace, session: TraceSession, call: TraceCall, *, model: str, start: float
) -> CallResult:
    path = "/v1/completions" if call.is_completion else "/v1/chat/completions"
    headers = {"content-type": "application/json", SESSION_HEADER: session.name, names.HEADER_DEBUG.decode(): "1"}
    body = text_body(call, model, trace.block_size)
    arrived = time.monotonic()
    first_token_at: float | None = None
    usage: _Usage | None = None
    try:
        async with http.post(path, data=body, headers=headers) as response:
            if response.status != 200:
                raise ReplayError(f"{session.name}: HTTP {response.status}: {(await response.text())[:300]}")
            placement = response.headers.get(names.HEADER_PLACEMENT.decode(), "")
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                chunk = _CHUNK.decode(line[6:])
                if chunk.error is not None:
                    raise ReplayError(f"{session.name}: {chunk.error.get('message')}")
                usage = chunk.usage or usage
                if first_token_at is None and any(_says_something(choice) for choice in chunk.choices):
                    first_token_at = time.monotonic()
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, msgspec.DecodeError) as error:
        raise ReplayError(f"{session.name}: {str(error) or type(error).__name__}") from None
    ended = time.monotonic()
    if usage is None:
        raise ReplayError(f"{session.name}: the answer broke off")
    details = usage.prompt_tokens_details
    return CallResult(
        call=call,
        arrived_s=arrived - start,
        first_token_s=(first_token_at or ended) - arrived,
        ended_s=ended - arrived,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=(details.cached_tokens if details else None) or 0,
        replica=dict(field.split("=", 1) for field in placement.split() if "=" in field).get("replica", "?"),
    )


def _says_something(choice: _Choice) -> bool:
    delta = choice.delta or {}
    return bool(choice.text or delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"))
