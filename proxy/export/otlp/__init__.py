"""Traces of programs over OTLP: spans made of what `proxy/programs` remembers, in a process of their own (decision 8).

A `Courier` tells that process of calls as they end. There `Exporter` queues, batches and sends spans through a `Sender`;
`call_spans` and `program_spans` make them, `wire` writes their bytes. `find_target` says where they go, and `EngineSpans` takes
in what engines have to say of the same calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from turnwise.errors import SettingsError
from turnwise.proxy.export.otlp import wire
from turnwise.proxy.export.otlp.courier import Courier
from turnwise.proxy.export.otlp.http_sender import HttpSender
from turnwise.proxy.export.otlp.resource import process_resource
from turnwise.proxy.export.otlp.sending import Answer, Sender
from turnwise.proxy.export.otlp.target import Target, find_target
from turnwise.proxy.export.otlp.told import Order
from turnwise.settings import Settings

__all__ = ["Courier", "Sender", "Target", "check", "find_target", "make_courier", "open_sender", "probe", "target_of"]

PROBE_TIMEOUT_S = 5.0
"""How long a target may take to answer when it is only asked whether it is there."""


def target_of(settings: Settings, environ: Mapping[str, str]) -> Target | None:
    """Say where a proxy's spans go; None where it makes none. Raises `SettingsError` as `find_target` does."""
    return find_target(settings.traces, environ) if settings.programs.enabled else None


def check(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raise `SettingsError` where spans should be sent and could not be, before anything is served."""
    found = target_of(settings, environ)
    if found is not None:
        open_sender(found).close()


def make_courier(
    settings: Settings, environ: Mapping[str, str], clock: Callable[[], float], worker: int | None = None
) -> Courier | None:
    """Build what exports this process's spans, to be started; None where programs are off or no endpoint is known.

    `clock` is the one of the calls, `worker` the number of this process among several. Raises `SettingsError` as `find_target`
    does.
    """
    found = target_of(settings, environ)
    if found is None:
        return None
    anchor_ns = time.time_ns() - int(clock() * 1e9)
    return Courier(Order(settings, found, wire.resource(process_resource()), anchor_ns, worker))


def probe(found: Target) -> Answer:
    """Send a target a batch without spans, and say what it answers."""
    connection = open_sender(found)
    try:
        return connection.send(b"", min(found.timeout_s, PROBE_TIMEOUT_S))
    finally:
        connection.close()


def open_sender(found: Target) -> Sender:
    """Build the connection to a target; raises `SettingsError` where gRPC is asked for and not installed."""
    if found.protocol != "grpc":
        return HttpSender(found)
    try:
        from turnwise.proxy.export.otlp.grpc_sender import GrpcSender  # noqa: PLC0415 - an extra: `turnwise[grpc]`
    except ModuleNotFoundError as error:
        if error.name != "grpc":
            raise
        raise SettingsError(
            "`traces.protocol`: grpc needs an extra: pip install 'turnwise[grpc]'; http/protobuf needs nothing"
        ) from None
    return GrpcSender(found)
