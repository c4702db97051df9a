"""What the tools gateway costs, what it saves, and what it never does: `make bench-tools` runs it.

A row is a module of this folder with `rows(options)`, imported when it is asked for; `__main__.NAMES` lists them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """What a row is measured with."""

    seed: int
    cache: Path
    """Folder for what is compiled."""
    servers: Path | None
    """Folder of the real tool servers, as `tests/tools/install.sh` prints it; None where they are not installed."""
