"""The files of what was approved and what upstreams say of their tools: whole or not there, readable, with a version.

`pins.json` is the operator's: `turnwise tools approve` writes it, the gateway reads it. `seen.json` is the gateway's.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

from turnwise.errors import SettingsError
from turnwise.tools_gateway.registry.pins import VERSION, Pins, Seen, check_pins

FileT = TypeVar("FileT", Pins, Seen)


class StateFolder:
    """`trust.state_dir`, or nothing where it is empty."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None

    def pins(self) -> Pins:
        """What was approved; raises `SettingsError` where the file cannot be read, or is not what `approve` wrote."""
        pins = self._read("pins.json", Pins)
        if pins is None:
            return Pins()
        try:
            check_pins(pins)
        except ValueError as error:
            raise SettingsError(f"{self._path('pins.json')}: {error}") from None
        return pins

    def pins_mark(self) -> tuple[int, int, int] | None:
        """What changes when the file of pins does; None where there is none."""
        if self._folder is None:
            return None
        try:
            facts = self._path("pins.json").stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_ino, facts.st_size

    def write_pins(self, pins: Pins) -> None:
        """Replace what was approved; raises `SettingsError`."""
        self._write("pins.json", pins)

    def seen(self) -> Seen:
        """What upstreams said when they were asked last; nothing where that cannot be read, for they are asked again."""
        try:
            seen = self._read("seen.json", Seen)
        except SettingsError:
            return Seen()
        return seen if seen is not None and seen.version == VERSION else Seen()

    def write_seen(self, seen: Seen) -> None:
        """Replace what upstreams said; raises `SettingsError`."""
        self._write("seen.json", seen)

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise SettingsError("`trust.state_dir` is not given, so nothing can be kept")
        return self._folder / name

    def _read(self, name: str, kind: type[FileT]) -> FileT | None:
        if self._folder is None:
            return None
        path = self._path(name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: {error}") from None

    def _write(self, name: str, value: Pins | Seen) -> None:
        path = self._path(name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{name}.", delete=False) as file:
                try:
                    file.write(msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).rename(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise SettingsError(f"{path}: cannot be written: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise SettingsError(f"{path}: cannot be written: what it would hold is no JSON") from None
