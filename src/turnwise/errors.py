"""Every failure that Turnwise names, and whose fault it is.

    TurnwiseError             status   retryable
    ├─ SettingsError          -        no     refuses to start
    ├─ ClientFault            4xx      no     BadRequest · BadFraming · UnknownModel · UnknownPath · HolderLost
    ├─ Overloaded             503      later  NoReplica
    ├─ EngineFault            502/504  maybe  ConnectFailed (yes) · StreamBroken (before the first body byte) · EngineTimeout
    └─ ProxyFault             500      no     a bug; logged with its traceback

`reason` is closed: it is a response header, a metric label and a log field.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Reason(StrEnum):
    """Why a call did not simply succeed."""

    BAD_REQUEST = "bad_request"
    BAD_FRAMING = "bad_framing"
    HEAD_TOO_LARGE = "head_too_large"
    BODY_TOO_LARGE = "body_too_large"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    HTTP_VERSION = "http_version"
    UPGRADE = "upgrade"
    UNKNOWN_PATH = "unknown_path"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_RESPONSE = "unknown_response"
    HOLDER_LOST = "holder_lost"
    NO_REPLICA = "no_replica"
    DRAINING = "draining"
    CONNECT_FAILED = "connect_failed"
    STREAM_BROKEN = "stream_broken"
    ENGINE_TIMEOUT = "engine_timeout"
    CLIENT_GONE = "client_gone"
    BUG = "bug"


class TurnwiseError(Exception):
    """Root of all errors of ours.

    `status` is the HTTP status for the client, `retryable` says whether another replica may be tried, `param` names the
    field of the request at fault.
    """

    status = 500
    retryable = False

    def __init__(self, message: str, *, reason: Reason, status: int | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.param = param
        if status is not None:
            self.status = status


class SettingsError(TurnwiseError):
    """A setting that is unknown, of the wrong type or out of range; the message names its source and key."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=Reason.BAD_REQUEST)


class ClientFault(TurnwiseError):
    """What the client sent cannot be served.

    `details` is what an SDK reads to find its way; only Anthropic's error shape carries it.
    """

    status = 400

    def __init__(
        self,
        message: str,
        *,
        reason: Reason = Reason.BAD_REQUEST,
        status: int | None = None,
        param: str | None = None,
        allowed_methods: tuple[str, ...] = (),
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, status=status, param=param)
        self.allowed_methods = allowed_methods
        self.details = details


class Overloaded(TurnwiseError):
    """Nothing can take the call now; it was never queued."""

    status = 503

    def __init__(self, message: str, *, reason: Reason = Reason.NO_REPLICA) -> None:
        super().__init__(message, reason=reason)


class EngineFault(TurnwiseError):
    """A replica failed us. `retryable` holds only while no byte of a body has reached the client."""

    status = 502

    def __init__(self, message: str, *, reason: Reason, status: int | None = None, retryable: bool = False) -> None:
        super().__init__(message, reason=reason, status=status)
        self.retryable = retryable


class ProxyFault(TurnwiseError):
    """A bug of ours."""

    def __init__(self, message: str = "internal error of the proxy; the log has its traceback") -> None:
        super().__init__(message, reason=Reason.BUG)
