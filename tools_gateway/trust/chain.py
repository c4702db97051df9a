"""A file of records, one JSON object a line, each with the sha256 of the line before: what is changed or taken out shows."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from turnwise.errors import SettingsError
from turnwise.tools_gateway.values import JsonObject

NAME = "audit.jsonl"
START = "0" * 64
"""Hash of the line before the first."""
_TAIL_BYTES = 1 << 20
"""In which the end of the last line is looked for."""


class Chain:
    """The end of a chain, to which records are added; one process at a time.

    `write` and `open_file` are those of `os`, or what a test puts in their place. Raises `SettingsError` where the folder
    cannot be written, or is another process's. A line that a crash cut off is taken out, and a record says so.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        fsync: bool,
        now: Callable[[], float],
        write: Callable[[int, bytes], int] = os.write,
        open_file: Callable[[Path, int, int], int] = os.open,
    ) -> None:
        self._file = folder / NAME
        self._max_bytes = max_bytes
        self._fsync = fsync
        self._now = now
        self._write = write
        self._open_file = open_file
        self._number = 0
        self._last = START
        self._fd: int | None = None
        self._size = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "audit.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SettingsError(f"`trust.state_dir`: {folder}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open()
        except BlockingIOError:
            os.close(self._lock)
            raise SettingsError(f"`trust.state_dir`: {folder}: another gateway writes its audit there") from None
        except SettingsError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise SettingsError(f"`trust.state_dir`: {self._file}: cannot be written: {error.strerror}") from None

    def add(self, kind: str, facts: JsonObject) -> int:
        """Write one record and give its number; raises `OSError` where it is not written, and then no part of it is."""
        if self._fd is not None and self._size >= self._max_bytes:
            self._rotate()
        fd = self._open_again() if self._fd is None else self._fd
        line = _line(self._number + 1, self._now(), kind, facts, self._last)
        self._append(fd, line)
        self._number += 1
        self._last = sha256(line).hexdigest()
        return self._number

    def close(self) -> None:
        """Let go of the files."""
        self._let_go()
        os.close(self._lock)

    def _append(self, fd: int, line: bytes) -> None:
        is_whole = False
        try:
            is_whole = self._write(fd, line) == len(line)
            if self._fsync:
                os.fsync(fd)
        except OSError:
            is_whole = False
            raise
        finally:
            if not is_whole:
                # Half a line, or one that may not be on disk, must not stand before the next.
                os.ftruncate(fd, self._size)
        if not is_whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))
        self._size += len(line)

    def _open(self) -> None:
        fd = self._fd = self._open_file(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(fd).st_size
        tail = os.pread(fd, _TAIL_BYTES, max(0, self._size - _TAIL_BYTES))
        whole, newline, cut = tail.rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        if lines:
            self._continue(lines[-1] + b"\n")
        elif not self._size:
            self._continue_after(_rotated(self._file.parent))
        if cut:
            self._size -= len(cut)
            os.ftruncate(fd, self._size)
            self.add("recovered", {"cut_bytes": len(cut), "cut_sha256": sha256(cut).hexdigest()})

    def _continue(self, line: bytes) -> None:
        try:
            self._number = int(msgspec.json.decode(line)["n"])
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
            raise SettingsError(f"{self._file}: its last line is no record: move the file away, or mend it") from None
        self._last = sha256(line).hexdigest()

    def _continue_after(self, files: list[Path]) -> None:
        """A new file goes on where the last one ended."""
        if files:
            with files[-1].open("rb") as before:
                before.seek(max(0, files[-1].stat().st_size - _TAIL_BYTES))
                self._continue(before.read().rstrip(b"\n").rpartition(b"\n")[2] + b"\n")

    def _rotate(self) -> None:
        """Put the full file aside, under the number of its last record."""
        self._file.rename(self._file.with_name(f"audit-{self._number:012d}.jsonl"))
        self._let_go()

    def _open_again(self) -> int:
        """Go on in the file that stands there, or in a new one; raises `OSError`, and the next record tries again."""
        try:
            self._open()
        except SettingsError as error:
            self._let_go()
            raise OSError(errno.EIO, error.message, str(self._file)) from None
        except OSError:
            self._let_go()
            raise
        assert self._fd is not None, "it was just opened"
        return self._fd

    def _let_go(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _line(number: int, at: float, kind: str, facts: JsonObject, before: str) -> bytes:
    return msgspec.json.encode({"n": number, "at": round(at, 6), "kind": kind, **facts, "before": before}) + b"\n"


def _rotated(folder: Path) -> list[Path]:
    return sorted(folder.glob("audit-*.jsonl"))


class Broken(msgspec.Struct, frozen=True):
    """Where a chain does not hold."""

    file: Path
    line: int
    why: str


def records(folder: Path) -> Iterator[JsonObject | Broken]:
    """All records of a folder in their order, and where the chain does not hold; the oldest files may have been put away."""
    last: str | None = None
    number = 0
    for file in [*_rotated(folder), folder / NAME]:
        if not file.exists():
            continue
        with file.open("rb") as lines:
            for position, line in enumerate(lines, 1):
                record = _record(line)
                if record is None:
                    yield Broken(file, position, "is no record" if line.endswith(b"\n") else "is cut off")
                    last = sha256(line).hexdigest()
                    continue
                if last is None and record["n"] == 1:
                    last = START
                if last is not None and record["before"] != last:
                    yield Broken(
                        file, position, f"does not follow on record {number}: one of them was changed, or some are gone"
                    )
                elif last is not None and record["n"] != number + 1:
                    yield Broken(file, position, f"has the number {record['n']} after {number}")
                last, number = sha256(line).hexdigest(), record["n"]
                yield record


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record: object = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    is_one = isinstance(record, dict) and isinstance(record.get("n"), int) and isinstance(record.get("before"), str)
    return record if is_one and isinstance(record, dict) and line.endswith(b"\n") else None


def head(folder: Path) -> str:
    """The hash of the last line of a folder."""
    for file in (folder / NAME, *reversed(_rotated(folder))):
        if file.exists() and file.stat().st_size:
            last = b""
            with file.open("rb") as lines:
                for line in lines:
                    last = line
            return sha256(last).hexdigest()
    return START
