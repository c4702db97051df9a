"""Log records as JSON lines on standard error, for every process of Turnwise."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec


class JsonLines(logging.Formatter):
    """Formats every record as one JSON object; a dict as message becomes its fields.

    `worker` is the number of this process among several, None where it is the only one.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._own_fields: dict[str, object] = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._own_fields,
        }
        if isinstance(record.msg, dict):
            line |= record.msg
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up(level: str, worker: int | None = None) -> None:
    """Write every log record to standard error as a JSON line, of one of several processes with its number."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(worker))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These write a line for each request or session.
    for noisy in ("httpx", "httpcore", "aiohttp.access", "mcp", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
