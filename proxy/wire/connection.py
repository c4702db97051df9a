"""One client connection: reads requests in order, runs the handler for each, and ends what must end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from functools import partial
from typing import cast

from turnwise.errors import ClientFault, Overloaded, ProxyFault, Reason, TurnwiseError
from turnwise.proxy.wire.answer import Answer, status_line
from turnwise.proxy.wire.deadline import Deadline
from turnwise.proxy.wire.framing import bad_framing
from turnwise.proxy.wire.headers import date_line, encode
from turnwise.proxy.wire.hub import Hub
from turnwise.proxy.wire.outbox import Outlet
from turnwise.proxy.wire.ports import RawRequest, ResponseHead
from turnwise.proxy.wire.reader import RequestReader

logger = logging.getLogger("turnwise.wire")

WRITE_HIGH_BYTES = 64 * 1024
"""Unsent bytes of one client above which its upstream is paused."""
AHEAD_BYTES = 64 * 1024
"""Bytes of later requests that may arrive while one is answered; then the socket is left unread."""
LINGER_S = 2.0
"""How long a refused client may go on sending: closing on unread bytes would reset the connection and destroy the answer."""
UNREAD_CHECK_S = 1.0
"""How often a connection that is left unread is asked whether its client has closed: unread, it does not tell."""
_TCP_ESTABLISHED = 1


class Connection(asyncio.Protocol):
    """A client's connection; it answers one request at a time."""

    _transport: asyncio.Transport
    _outlet: Outlet

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        self.hub = hub
        self._loop = loop
        self._reader = RequestReader(max_head_bytes=hub.settings.max_head_bytes, max_body_bytes=hub.settings.max_body_bytes)
        self._deadline = Deadline(loop, hub.clock, self._on_due)
        self._answer: Answer | None = None
        self._is_refused = False
        self._is_head_timed = False
        self._is_write_paused = False
        self._num_unsent = sys.maxsize
        self._unread_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up and wait for a request."""
        # uvloop's transports do not derive from asyncio's, so that an isinstance check would fail.
        self._transport = transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._outlet = Outlet(self.hub.outbox, transport)
        self.hub.add(self)
        if self.hub.is_over_limit:
            self._turn_away()
        else:
            self._deadline.move(self.hub.clock() + self.hub.settings.keepalive_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection; whoever answers on it hears at once."""
        self._deadline.close()
        self._stop_unread_check()
        self.hub.remove(self)
        answer, self._answer = self._answer, None  # each holds the other
        if answer is not None:
            answer.gone()

    def data_received(self, data: bytes) -> None:
        """Read on, or keep for later what belongs to later requests."""
        if self._is_refused:
            return
        if self._answer is None:
            self._read_on(data)
            return
        self._reader.feed(data)
        if self._reader.num_held > AHEAD_BYTES and self._unread_check is None:
            self._transport.pause_reading()
            self._unread_check = self._loop.call_later(UNREAD_CHECK_S, self._check_unread)

    def eof_received(self) -> bool:
        """A client that stops sending has left; within a request it is told what is missing."""
        if self._answer is not None:
            self.abort()
        elif not self._is_refused and not self._reader.is_idle:
            self._refuse(bad_framing("the connection ended within the request"))
            self._outlet.close()
            return True
        return False

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._is_write_paused = True
        self._watch_unsent()
        if self._answer is not None:
            self._answer.paused(True)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._is_write_paused = False
        if self._answer is not None:
            self._answer.paused(False)

    def close_when_idle(self) -> None:
        """Close now if no request is under way; else the answer under way is the last one."""
        if self._answer is None and self._reader.is_idle and not self._is_refused:
            self._outlet.close()

    def end(self) -> None:
        """Let whoever answers end the answer at once; close the connection where there is no answer to end."""
        if self._answer is None:
            self._outlet.close()
        elif not self._answer.closing():
            self.abort()

    def abort(self) -> None:
        """Cut the connection; whoever answers on it hears at once."""
        if self._answer is not None:
            self._answer.gone()
        self._transport.abort()

    def cut(self) -> None:
        """Cut the connection; whoever answers on it asked for that."""
        self._transport.abort()

    def _read_on(self, data: bytes = b"") -> None:
        """Take the next request of what is held and `data`, or set the time that its missing bytes have."""
        reader, now = self._reader, self.hub.clock()
        had_head = reader.head is not None
        try:
            received = reader.take(now, data)
        except ClientFault as fault:
            self._refuse(fault)
            return
        if received is not None:
            self._is_head_timed = False
            head, request = received
            answer = self._answer = Answer(self._outlet, head, self, is_paused=self._is_write_paused)
            self.hub.run(request, answer, partial(self._handled, request, answer))
            return
        settings = self.hub.settings
        if reader.head is not None:
            if reader.head.expects_continue and not had_head:
                self._outlet.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._deadline.move(now + settings.body_timeout_s)
        elif not self._is_head_timed:
            self._is_head_timed = True
            self._deadline.move(now + settings.head_timeout_s)

    def _handled(self, request: RawRequest, answer: Answer, task: asyncio.Task[None]) -> None:
        """The handler has ended; whatever became of it, the client gets a whole answer or a cut connection."""
        self.hub.tasks.discard(task)
        if task.cancelled():
            answer.abort()
        elif (error := task.exception()) is not None:
            logger.error("the handler failed on %s %s", request.method, request.target, exc_info=error)
            self._fail(request, answer)
        elif not answer.is_finished and not answer.is_gone:
            logger.error("the handler left %s %s unanswered", request.method, request.target)
            self._fail(request, answer)

    def _fail(self, request: RawRequest, answer: Answer) -> None:
        if answer.has_started:
            answer.abort()
            return
        fields, body = self.hub.error_answer(ProxyFault(), request.target)
        answer.start(ResponseHead(status=ProxyFault.status, phrase=b"", headers=fields, length=len(body)))
        answer.finish(body)

    def on_answered(self, *, keeps_alive: bool) -> None:
        """See `answer.Line`: read on, or close."""
        self._answer = None
        if not keeps_alive or self.hub.is_draining:
            self._outlet.close()
            self._watch_unsent()
            return
        if self._unread_check is not None:
            self._stop_unread_check()
            self._transport.resume_reading()
        if self._reader.is_idle:
            hub = self.hub
            self._deadline.move(hub.clock() + hub.settings.keepalive_timeout_s)
        else:
            self._read_on()

    def _turn_away(self) -> None:
        if self.hub.turn_away(self):
            self._refuse(Overloaded("the proxy serves no more connections", reason=Reason.TOO_MANY_CONNECTIONS))
        else:
            self._is_refused = True
            self._transport.abort()

    def _refuse(self, fault: TurnwiseError) -> None:
        """Tell the client what is wrong and end the connection without losing that answer."""
        self._is_refused = True
        head = self._reader.head
        fields, body = self.hub.error_answer(fault, head.target if head is not None else None)
        lines = (*fields, (b"Content-Length", b"%d" % len(body)), (b"Connection", b"close"))
        is_head = head is not None and head.method == "HEAD"
        self._outlet.write(b"%b%b%b\r\n%b" % (status_line(fault.status), encode(lines), date_line(), b"" if is_head else body))
        self._outlet.end()
        self._deadline.move(self.hub.clock() + LINGER_S)

    def _on_due(self) -> None:
        reader = self._reader
        if self._is_refused:
            self._transport.abort()
        elif self._is_write_paused or self._transport.is_closing():
            self._check_unsent()
        elif self._answer is not None:
            return  # it is the replica's turn, however long it takes; the end of the answer sets the next time
        elif reader.head is not None:
            self._refuse(ClientFault("the body stopped arriving", reason=Reason.BODY_TIMEOUT, status=408))
        elif not reader.is_idle:
            self._refuse(ClientFault("the head took too long to arrive", reason=Reason.HEAD_TIMEOUT, status=408))
        else:
            self._outlet.close()

    def _watch_unsent(self) -> None:
        self._num_unsent = sys.maxsize
        self._deadline.move(self.hub.clock() + self.hub.settings.keepalive_timeout_s)

    def _check_unsent(self) -> None:
        """Cut a client that has read nothing since the last look: it would hold its replica for ever."""
        num_unsent = self._transport.get_write_buffer_size()
        if num_unsent >= self._num_unsent:
            self.abort()
            return
        self._num_unsent = num_unsent
        self._deadline.move(self.hub.clock() + self.hub.settings.keepalive_timeout_s)

    def _check_unread(self) -> None:
        sock = self._transport.get_extra_info("socket")
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state != _TCP_ESTABLISHED:
            self.abort()
            return
        self._unread_check = self._loop.call_later(UNREAD_CHECK_S, self._check_unread)

    def _stop_unread_check(self) -> None:
        if self._unread_check is not None:
            self._unread_check.cancel()
            self._unread_check = None
