"""Papers that a benchmark renews a part of, and what it says of itself there."""

from __future__ import annotations

import subprocess
from pathlib import Path


def renew(paper: Path, begin: str, end: str, text: str) -> None:
    """Put `text` between the marks in `paper`; raises `ValueError` where it has none."""
    head, found, rest = paper.read_text(encoding="utf-8").partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"{paper} has no part between {begin.strip()} and {end.strip()}")
    paper.write_text(f"{head}{begin}{text}{end}{tail}", encoding="utf-8")


def commit() -> str:
    """What is checked out, and whether it was changed."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"], check=True, capture_output=True, text=True
    )
    return described.stdout.strip()
