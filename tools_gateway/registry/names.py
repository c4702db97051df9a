"""Public names: what a model may call a tool of an upstream by."""

from __future__ import annotations

import re
from hashlib import sha256

from turnwise.tools_gateway.values import ToolKey

MAX_LENGTH = 64
"""Of the name of a function in the APIs of models."""
_LEGAL = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_LENGTH}}}")
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]+")


def public_name(prefix: str, key: ToolKey) -> str:
    """`prefix` and the tool's own name; a readable head and eight hex digits of both where that is too long or not legal.

    A function of the operator's file and the tool's name alone, so it is the same after a restart. Nothing ever splits it.
    """
    name = prefix + key.tool
    if _LEGAL.fullmatch(name):
        return name
    digest = sha256(f"{key.upstream}\0{key.tool}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    head = _ILLEGAL.sub("_", name)[: MAX_LENGTH - 9].rstrip("_")
    return f"{head}_{digest}"
