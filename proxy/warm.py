"""What is known of KV on disk, so that a restarted proxy is warm in a second.

The file holds the index and, for each replica, a mark of the last batch of events that it had taken in. Nothing of it is
believed until the engine's own sequence goes on from that mark; `Feed` sees to that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from turnwise.index import KvIndex
from turnwise.proxy.following import Loss
from turnwise.proxy.sequence import Mark
from turnwise.types import ReplicaId

logger = logging.getLogger(__name__)

MAGIC = b"turnwise state\n"
"""How a state file begins; the index within has a header, a version and a checksum of its own."""

UNEXPLAINED = 255
"""Status of a child that could not write for a reason that has no number."""


class Remembered(msgspec.Struct, frozen=True):
    """One replica's feed when the file was written: where it stood, and what it had lost before that."""

    mark: Mark
    loss: Loss | None = None


class _State(msgspec.Struct, frozen=True, array_like=True):
    feeds: dict[ReplicaId, Remembered]
    index: bytes


def read(path: str, index: KvIndex, now: float) -> dict[ReplicaId, Remembered]:
    """Restore `index`, which follows no replica yet, from the file at `path`; gives where each replica's feed stood.

    An absent file, or none at all (`path` is empty), is a cold start; one that cannot be used is that too, with a warning.
    """
    if not path:
        return {}
    folder = Path(path).parent
    if not os.access(folder, os.W_OK):
        logger.warning("the state file %s will not be kept: the folder %s cannot be written to", path, folder)
    try:
        state = _decoded(Path(path).read_bytes())
        restored = index.restore(state.index, now)
    except FileNotFoundError:
        logger.info("no state file at %s yet: nothing is known at the start", path)
        return {}
    except (OSError, ValueError, msgspec.DecodeError) as error:
        logger.warning("the state file %s cannot be used, so nothing is known at the start: %s", path, error)
        return {}
    logger.info("%s tells of %d replicas; each is believed once its engine agrees", path, len(restored))
    return {name: state.feeds[name] for name in restored if name in state.feeds}


def write(path: str, index: KvIndex, feeds: Mapping[ReplicaId, Remembered]) -> None:
    """Write what is known to `path`, whole or not at all; raises `OSError` where it cannot be written."""
    body = msgspec.msgpack.encode(_State(dict(feeds), index.dump()))
    half = _half(path, os.getpid())
    try:
        with half.open("wb") as file:
            file.write(MAGIC)
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def write_last(path: str, index: KvIndex, feeds: Mapping[ReplicaId, Remembered]) -> None:
    """Write the file when nothing is served any more; where that cannot be, say so and go on ending."""
    if not path:
        return
    began = time.monotonic()
    try:
        write(path, index, feeds)
    except OSError as error:
        logger.warning("the state file %s cannot be written: %s", path, error)
    else:
        logger.info("%s written in %.2f s", path, time.monotonic() - began)


async def keep_written(
    path: str, index: KvIndex, feeds: Callable[[], Mapping[ReplicaId, Remembered]], *, interval_s: float
) -> None:
    """Write the file every `interval_s` seconds until cancelled.

    A child process does it, on the memory as it is at one moment: half a second of work for a million blocks would hold every
    stream, and in slices the parts would not be of one moment. The loop is held for the fork alone.
    """
    while True:
        await asyncio.sleep(interval_s)
        try:
            child = fork_writer(path, index, feeds())
        except OSError as error:
            logger.warning("no process can be started to write the state file %s: %s", path, error)
            continue
        try:
            status = await asyncio.to_thread(_wait, child)
        except asyncio.CancelledError:
            # What is written at the end must not be replaced by what was written before it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _half(path, child).unlink(missing_ok=True)
            raise
        if status:
            why = os.strerror(status) if 0 < status < UNEXPLAINED else f"its writer ended with {status}"
            logger.warning("the state file %s was not written: %s", path, why)


def fork_writer(path: str, index: KvIndex, feeds: Mapping[ReplicaId, Remembered]) -> int:
    """Start a child process that writes the file, and give its id; raises `OSError` where there can be none.

    It ends with the number of the system's error where that is why it could not write.
    """
    child = os.fork()
    if child:
        return child
    status = UNEXPLAINED
    try:
        # It shares the memory and nothing else: a connection is closed only when nobody has it open any more, signals are for
        # the parent, and no object of the parent's may be finalized twice.
        gc.disable()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        write(path, index, feeds)
        status = 0
    except OSError as error:
        status = error.errno or UNEXPLAINED
    finally:
        os._exit(status)  # nobody else's clean-up may run here


def _decoded(data: bytes) -> _State:
    if not data.startswith(MAGIC):
        raise ValueError(f"it begins with {data[: len(MAGIC)]!r} and is no state file")
    return msgspec.msgpack.decode(memoryview(data)[len(MAGIC) :], type=_State)


def _half(path: str, writer: int) -> Path:
    """What a process writes before it takes the place of the file."""
    return Path(f"{path}.{writer}")


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
