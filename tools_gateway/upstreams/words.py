"""What a program says for people on its error output: lines without the secrets it was given; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

MIN_SECRET_CHARACTERS = 8
"""A shorter value of `env` is a setting, such as a level or a port."""

LINE_CHARACTERS, OPEN_BYTES = 400, 16 * 1024
"""Kept of a line, and read of one that does not end."""

MAX_SAID = 1000
"""Different lines that are known as said already."""

_BLACK = "[secret]"
_MOVING = re.compile(r"\d+(?:[:.,T-]\d+)+|\d{4,}")
"""Times, addresses and ids; a status says something else by another number."""


def secrets_of(env: Mapping[str, str], passed: Mapping[str, str]) -> tuple[str, ...]:
    """What of a program's environment is never shown: all that is passed on, and what of the file is long enough."""
    given = [*passed.values(), *(value for value in env.values() if len(value) >= MIN_SECRET_CHARACTERS)]
    parts = [
        part for value in given for part in (value, *value.splitlines()) if part == value or len(part) >= MIN_SECRET_CHARACTERS
    ]
    return tuple(sorted({part for part in parts if part}, key=len, reverse=True))


class Words:
    """One program's error output, read by read; a secret that lies across two reads is found as well."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self._longest = max(map(len, secrets), default=0)
        self._max_bytes = OPEN_BYTES + 4 * self._longest
        self._open = bytearray()
        self._is_skipping = False
        self._last = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that have ended."""
        *ended, rest = data.split(b"\n")
        lines = []
        for part in ended:
            self._keep(part)
            lines.append(self._line())
            self._open.clear()
            self._is_skipping = False
        self._keep(rest)
        found = [line for line in lines if line]
        self._last = found[-1] if found else self._last
        return found

    @property
    def last(self) -> str:
        """The last line that says something, ended or not."""
        return self._line(is_open=True) or self._last

    def _keep(self, part: bytes) -> None:
        """Add to the line that has not ended, within the bound; what is beyond it is not read."""
        room = self._max_bytes - len(self._open)
        self._is_skipping |= len(part) > room
        self._open += part[:room]

    def _line(self, *, is_open: bool = False) -> str:
        """The open line as it is shown."""
        text = self._open.decode(errors="replace")
        for secret in self._secrets:
            text = text.replace(secret, _BLACK)
        if self._is_skipping:
            text = text[: len(text) - self._longest]
        elif is_open:
            text = self._without_begun(text)
        return text.strip()[:LINE_CHARACTERS]

    def _without_begun(self, text: str) -> str:
        """Without the beginning of a secret at its end: the rest may not have been read yet."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if any(secret.startswith(text[-length:]) for secret in self._secrets):
                return text[:-length] + _BLACK
        return text


class Said:
    """What one program or connection after another has said, so that it is told once; times and ids aside."""

    def __init__(self) -> None:
        self._before: set[str] = set()
        self._now: set[str] = set()

    def next_program(self) -> None:
        """Another one begins: what the one before said is known."""
        self._before |= self._now
        if len(self._before) > MAX_SAID:
            self._before = self._now
        self._now = set()

    def is_known(self, line: str) -> bool:
        """Whether a program before this one said it."""
        line = _MOVING.sub("0", line)
        if len(self._now) < MAX_SAID:
            self._now.add(line)
        return line in self._before
