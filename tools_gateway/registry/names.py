"""Public names: what a model may call a tool of an upstream by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
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


class NameMap:
    """The exact maps from public names to tools, and from what clients write to public names.

    `tools` are prefixes and tools, `aliases` patterns that hold `{tool}`.
    """

    def __init__(self, tools: Sequence[tuple[str, ToolKey]] = (), aliases: Sequence[str] = ()) -> None:
        by_name: dict[str, ToolKey] = {}
        for prefix, key in tools:
            # A name that is taken stays its tool's: no other can change what it means.
            by_name.setdefault(public_name(prefix, key), key)
        written: Counter[str] = Counter()
        by_alias: dict[str, str] = {}
        for name in by_name:
            for pattern in aliases:
                alias = pattern.replace("{tool}", name)
                written[alias] += 1
                by_alias[alias] = name
        self.by_name: Mapping[str, ToolKey] = by_name
        # An alias that could mean two tools means none, and a name wins over an alias.
        self.by_alias: Mapping[str, str] = {
            alias: name for alias, name in by_alias.items() if written[alias] == 1 and alias not in by_name
        }
