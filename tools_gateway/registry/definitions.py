"""Definitions of tools: what of them is pinned, and what of them is shown."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from turnwise.invisible import without_comments, without_invisible
from turnwise.tools_gateway.registry.schemas import Sloppy, check_schema
from turnwise.tools_gateway.values import MAX_NAME, JsonObject

PINNED = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""What a definition is by its hash. Nothing else of it is shown: what is not pinned could change unseen."""
MAX_DESCRIPTION = 4096
"""Characters; the longest of the reference servers (MCP, 2026.8) has 1,300."""
MAX_TITLE = 256
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_PROSE = frozenset(("description", "title", "$comment"))


def name_of(definition: JsonObject) -> str:
    """The tool's own name; raises `Sloppy` where it has none that can be used."""
    name = definition.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise Sloppy(f"it has no name of 1 to {MAX_NAME} characters")
    if without_invisible(name) != name or "\n" in name:
        raise Sloppy("its name holds invisible characters")
    return name


def pin_of(definition: JsonObject) -> str:
    """sha256, in hex, of the pinned members as canonical JSON (keys in order, no blanks); raises `Sloppy` where it has none."""
    try:
        canonical = msgspec.json.encode({key: definition[key] for key in PINNED if key in definition}, order="sorted")
    except (UnicodeEncodeError, RecursionError, ValueError, TypeError):
        raise Sloppy("it cannot be written as JSON") from None
    return sha256(canonical).hexdigest()


def cleaned(definition: JsonObject, public: str) -> JsonObject:
    """The definition as agents are shown it, under its public name; raises `Sloppy` where it must not be shown at all."""
    shown: JsonObject = {"name": public}
    for key, longest in (("title", MAX_TITLE), ("description", MAX_DESCRIPTION)):
        text = definition.get(key)
        if text is None:
            continue
        if not isinstance(text, str):
            raise Sloppy(f"its {key} is no text")
        shown[key] = _prose(text, longest)
    for key in ("inputSchema", "outputSchema"):
        schema = definition.get(key)
        if schema is None and key == "outputSchema":
            continue
        if not isinstance(schema, dict):
            raise Sloppy(f"its {key} is no object")
        check_schema(schema, key)
        shown[key] = _cleaned_schema(schema, key)
    if shown["inputSchema"].get("type", "object") != "object":
        raise Sloppy("its inputSchema is not that of an object")
    hints = definition.get("annotations")
    if isinstance(hints, dict):
        kept: JsonObject = {key: hints[key] for key in _HINTS if isinstance(hints.get(key), bool)}
        if isinstance(title := hints.get("title"), str):
            kept["title"] = _prose(title, MAX_TITLE)
        shown["annotations"] = kept
    return shown


def _prose(text: str, longest: int) -> str:
    clean = without_comments(without_invisible(text))
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def _cleaned_schema(node: object, where: str, *, is_prose: bool = False) -> object:
    """A schema with clean prose; what is meant for machines is left as it is, or refused."""
    if isinstance(node, str):
        if is_prose:
            return _prose(node, MAX_DESCRIPTION)
        if without_invisible(node) != node:
            raise Sloppy(f"its {where} holds invisible characters outside of descriptions")
        return node
    if isinstance(node, list):
        return [_cleaned_schema(item, where) for item in node]
    if isinstance(node, dict):
        for key in node:
            _cleaned_schema(key, where)
        return {key: _cleaned_schema(value, where, is_prose=key in _PROSE) for key, value in node.items()}
    return node
