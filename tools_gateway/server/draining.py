"""The end of what is served: streams that only a client ends are ended, and what has had its time is cut off with a word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from turnwise.tools_gateway.server.asgi import App, Message, Receive, Scope, Send, send_text

logger = logging.getLogger(__name__)

LAST_WORD_S = 1.0
"""For a client to take what it is told at the end."""
STOPPING = "The tools gateway is stopping."


class Draining:
    """Serves with `app` until told to end (ASGI); no request that it ends is an error of the server below."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._open: dict[asyncio.Task[None], bool] = {}
        """Requests that are served: whether one is a stream that lasts until its client leaves."""
        self._cut: set[asyncio.Task[None]] = set()
        self._has_ended_streams = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        is_stream = scope["method"] == "GET"
        if is_stream and self._has_ended_streams:
            await send_text(send, 503, STOPPING)
            return
        this = asyncio.current_task()
        assert this is not None
        is_begun = is_whole = False

        async def noted(message: Message) -> None:
            nonlocal is_begun, is_whole
            is_begun = True
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        self._open[this] = is_stream
        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if this not in self._cut or this.uncancel():
                raise
        finally:
            del self._open[this]
            was_cut = this in self._cut
            self._cut.discard(this)
        if was_cut and not is_whole:
            await _last_word(send, is_begun=is_begun)

    async def end_streams(self) -> None:
        """End the streams that last until their clients leave, and take no more of them."""
        self._has_ended_streams = True
        await self._end([task for task, is_stream in self._open.items() if is_stream])

    async def end(self) -> None:
        """End all that is served."""
        if self._open:
            logger.warning("stopping: %d requests were still under way and are cut off", len(self._open))
        await self._end(self._open)

    async def _end(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        ended = [task for task in tasks if task not in self._cut]
        for task in ended:
            self._cut.add(task)
            task.cancel()
        if ended:
            await asyncio.wait(ended, timeout=2 * LAST_WORD_S)


async def _last_word(send: Send, *, is_begun: bool) -> None:
    """Complete an answer, which a client that does not read cannot hold up."""
    try:
        async with asyncio.timeout(LAST_WORD_S):
            if is_begun:
                await send({"type": "http.response.body", "body": b""})
            else:
                await send_text(send, 503, STOPPING)
    except TimeoutError:
        return
