"""OTLP over HTTP: one POST of protobuf a batch, on one connection that is kept."""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import http.client
import socket
import ssl
import time
from typing import Final
from urllib.parse import urlsplit

from turnwise.proxy.export.otlp.replies import num_rejected
from turnwise.proxy.export.otlp.sending import Answer, Verdict
from turnwise.proxy.export.otlp.target import Target

MAX_ANSWER_BYTES = 64 * 1024

RETRYABLE: Final = frozenset({429, 502, 503, 504})
"""Statuses after which OTLP lets a batch be sent again."""


class HttpSender:
    """See `Sender`."""

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.url)
        self._target = target
        self._path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._headers = {"content-type": "application/x-protobuf", "user-agent": "turnwise", **target.headers}
        if target.is_gzip:
            self._headers["content-encoding"] = "gzip"
        self._tls = ssl.create_default_context() if target.is_secure else None
        self._connection: http.client.HTTPConnection | None = None

    def send(self, batch: bytes, timeout_s: float) -> Answer:
        """See `Sender.send`."""
        body = gzip.compress(batch, 1) if self._target.is_gzip else batch
        is_kept = self._connection is not None
        try:
            return self._post(body, timeout_s)
        except (ConnectionError, http.client.BadStatusLine) as error:
            # A backend closes connections that were idle, and is told so only by the next batch.
            if is_kept:
                return self._post_again(body, timeout_s)
            return Answer(Verdict.LATER, _said(error))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(Verdict.LATER, _said(error))

    def close(self) -> None:
        """See `Sender.close`."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if isinstance(connection.sock, socket.socket):
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()

    def _post_again(self, body: bytes, timeout_s: float) -> Answer:
        try:
            return self._post(body, timeout_s)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(Verdict.LATER, _said(error))

    def _post(self, body: bytes, timeout_s: float) -> Answer:
        connection = self._connection or self._open(timeout_s)
        self._connection = connection
        is_well = False
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout_s)
            connection.request("POST", self._path, body, self._headers)
            answer = connection.getresponse()
            content = answer.read(MAX_ANSWER_BYTES)
            is_well = not answer.will_close and answer.isclosed()
        finally:
            if not is_well:
                self.close()
        return _answer(answer.status, answer.getheader("retry-after"), content)

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        host, _, port = self._target.address.rpartition(":")
        host = host.strip("[]")
        if self._tls is not None:
            return http.client.HTTPSConnection(host, int(port), timeout=timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, int(port), timeout=timeout_s)


def _answer(status: int, retry_after: str | None, content: bytes) -> Answer:
    if 200 <= status < 300:
        return Answer(Verdict.TAKEN, num_rejected=num_rejected(content))
    why = f"HTTP {status}"
    if status in RETRYABLE:
        return Answer(Verdict.LATER, why, _seconds(retry_after))
    return Answer(Verdict.REFUSED, why)


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After`: seconds, or a date; None where it is neither."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
