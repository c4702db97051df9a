"""What was learned of run times on disk, so that a gateway that starts again need not learn it anew."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from turnwise.admin.words import plural
from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.forecast.state import VERSION, TableState

logger = logging.getLogger(__name__)

NAME = "run-times"
"""Of the file in the folder of state."""

MAGIC = b"turnwise run times\n"
MAX_BYTES = 32 * 1024 * 1024
"""Of a file that is read: twice what a full table takes."""

MODE = 0o600
INTERVAL_S = 60.0


class _File(msgspec.Struct, frozen=True, array_like=True):
    version: int
    saved_at: float
    """Seconds since 1970."""
    table: msgspec.Raw


class RunTimesFile:
    """The file `NAME` in a folder; keeps nothing where `folder` is empty."""

    def __init__(self, folder: str, table: RunTable, *, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """`clock` is the one on which `table` observes, `wall` tells seconds since 1970."""
        self._path = Path(folder) / NAME if folder else None
        self._table = table
        self._clock, self._wall = clock, wall
        self._num_written = 0

    def read(self) -> None:
        """Fill the table; a file that cannot be used is put aside as `NAME.unusable` with a warning, and nothing is known."""
        if self._path is None:
            return
        try:
            file = _read(self._path)
            state = msgspec.msgpack.decode(file.table, type=TableState)
            self._table.restore(state, self._clock(), away_s=max(0.0, self._wall() - file.saved_at))
        except FileNotFoundError:
            logger.info("no run times at %s yet: they are guessed at first", self._path)
        except OSError as error:
            logger.warning("run times cannot be read, so they are guessed at first: %s", error)
        except (ValueError, msgspec.DecodeError) as error:
            aside = self._path.with_suffix(".unusable")
            logger.warning("%s cannot be used and is put aside as %s: %s", self._path, aside.name, error)
            self._put_aside(aside)
        else:
            logger.info("%s tells how long %s took", self._path, plural(self._table.num_tools, "tool"))

    async def keep_written(self, interval_s: float = INTERVAL_S) -> None:
        """Write the file every so many seconds in which something was learned, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            if self._path is None or self._table.num_observed == self._num_written:
                continue
            writing = asyncio.ensure_future(asyncio.to_thread(_write, self._path, self._encoded()))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                # What is written at the end must not meet what was written before it.
                await writing
                raise

    def write_last(self) -> None:
        """Write the file when no tool runs any more."""
        if self._path is not None and self._table.num_observed != self._num_written:
            _write(self._path, self._encoded())

    def _encoded(self) -> bytes:
        self._num_written = self._table.num_observed
        table = msgspec.Raw(msgspec.msgpack.encode(self._table.dump(self._clock())))
        return MAGIC + msgspec.msgpack.encode(_File(VERSION, self._wall(), table))

    def _put_aside(self, aside: Path) -> None:
        assert self._path is not None
        try:
            self._path.replace(aside)
        except OSError as error:
            logger.warning("%s stays where it is, and will be written over: %s", self._path, error)


def _read(path: Path) -> _File:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("it is larger than a full table")
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise ValueError(f"it begins with {data[: len(MAGIC)]!r} and holds no run times")
    file = msgspec.msgpack.decode(memoryview(data)[len(MAGIC) :], type=_File)
    if file.version != VERSION:
        raise ValueError(f"it is of version {file.version}, and {VERSION} is read here")
    return file


def _write(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file, whole or not at all; warns where that cannot be."""
    half = path.with_suffix(f".{os.getpid()}")
    try:
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, MODE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        logger.warning("run times cannot be written to %s: %s", path, error)
    finally:
        half.unlink(missing_ok=True)
