"""What upstreams give, bounded and cleaned: results of tools, prompts and resources are data that nobody vouches for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from turnwise.invisible import without_invisible
from turnwise.strict_json import is_deeper
from turnwise.tools_gateway.trust import secrets
from turnwise.tools_gateway.values import Fault, JsonObject, ToolFault

UNTRUSTED = "turnwise/untrusted"
"""Member of `_meta` of every result."""
CUT = "turnwise/cut"
"""Member of `_meta` of a result that was too large: how many bytes it had."""
_OURS = "turnwise/"
MAX_META_SHARE = 8
"""What a cut result says in `_meta` may be this part of it; what is longer is left out."""
MAX_REFUSAL, MAX_DATA_BYTES = 4096, 64 * 1024
"""Characters of the words in which an upstream refuses, and the data of its error; words are cut, data left out."""
_MARKER_BYTES = 200
"""Room that the marker of a cut result takes."""
_BLOCKS = ("content", "contents", "messages")
"""Members that hold blocks: of a tool's result, of a resource, of a prompt."""
_NESTED = ("content", "resource")
"""Members of a block that are blocks themselves."""
_ENCODED = ("image", "audio")
"""Kinds of blocks whose `data` is base64."""


def cleaned(
    result: JsonObject, *, max_bytes: int, max_depth: int, are_secrets_removed: bool, is_cut: bool = True
) -> JsonObject:
    """The result without invisible characters and secrets, at most `max_bytes` of JSON, marked as untrusted in `_meta`.

    What is too large keeps its beginning: texts are cut, what cannot be cut is left out, and a last text says so. Without its
    structured content a result is an error, for it is not what its schema promises. Raises `ToolFault` where it is nested too
    deep, or is too large and not `is_cut`.
    """
    try:
        encoded = msgspec.json.encode(result)
    except UnicodeEncodeError:
        result = _mapped(result, lambda text: text.encode("utf-8", "replace").decode())
        encoded = msgspec.json.encode(result)
    if encoded.count(b"{") + encoded.count(b"[") > max_depth and is_deeper(result, max_depth):
        raise ToolFault(Fault.TOO_LARGE, f"What the tool server gave is nested deeper than {max_depth}.")
    shapes = secrets.shapes_in(encoded) if are_secrets_removed else []
    # Characters outside of ASCII stand as they are in the encoded form, and control characters as escapes.
    if not encoded.isascii() or b"\\u" in encoded or shapes:
        result = _mapped(result, lambda text: secrets.redacted(without_invisible(text), shapes))
    meta = result.get("_meta")
    marks: JsonObject = (
        {key: value for key, value in meta.items() if not key.startswith(_OURS)} if isinstance(meta, dict) else {}
    )
    marks[UNTRUSTED] = True
    if len(encoded) > max_bytes:
        if not is_cut:
            raise ToolFault(
                Fault.TOO_LARGE, f"What the tool server gave has {len(encoded)} bytes, and at most {max_bytes} are taken."
            )
        if len(msgspec.json.encode(marks)) > max_bytes // MAX_META_SHARE:
            marks = {UNTRUSTED: True}
        marks[CUT] = len(encoded)
        result = _cut(result, len(encoded), max_bytes, max_bytes - len(msgspec.json.encode(marks)) - _MARKER_BYTES)
    asked = result.get("inputRequests")
    if isinstance(asked, dict):
        result = {**result, "inputRequests": {key: _marked(each) for key, each in asked.items()}}
    return {**result, "_meta": marks}


def refusal(fault: ToolFault, *, max_depth: int, are_secrets_removed: bool) -> ToolFault:
    """The fault with its words, which may be the upstream's, without invisible characters and secrets, and of some length."""

    def words(text: str) -> str:
        raw = text[: 2 * MAX_REFUSAL].encode("utf-8", "replace")
        shapes = secrets.shapes_in(raw) if are_secrets_removed else []
        return secrets.redacted(without_invisible(raw.decode()), shapes)[:MAX_REFUSAL]

    given = fault.error
    if given is None:
        return ToolFault(fault.fault, words(fault.message))
    error: JsonObject = {"code": given.get("code"), "message": words(str(given.get("message", fault.message)))}
    with suppress(ToolFault):
        data = {"data": given["data"]} if "data" in given else {}
        error |= cleaned(
            data, max_bytes=MAX_DATA_BYTES, max_depth=max_depth, are_secrets_removed=are_secrets_removed, is_cut=False
        )
        del error["_meta"]
    return ToolFault(fault.fault, words(fault.message), error)


def _marked(asked: Any) -> Any:
    """One request of the caller's client, its params marked as untrusted: people are shown it as the gateway's."""
    if not isinstance(asked, dict):
        return asked
    params = asked.get("params")
    own = params if isinstance(params, dict) else {}
    meta = own.get("_meta")
    return {**asked, "params": {**own, "_meta": {**(meta if isinstance(meta, dict) else {}), UNTRUSTED: True}}}


def _mapped(result: JsonObject, change: Callable[[str], str]) -> JsonObject:
    """The result with every text changed, but for what is opaque: state to be given back, and bytes in base64."""
    return {key: value if key == "requestState" else _each(value, change, key) for key, value in result.items()}


def _each(value: Any, change: Callable[[str], str], key: str) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_block(item, change) if key in _BLOCKS else _each(item, change, "") for item in value]
    if isinstance(value, dict):
        return {change(name): _each(child, change, "") for name, child in value.items()}
    return value


def _block(block: Any, change: Callable[[str], str]) -> Any:
    if not isinstance(block, dict):
        return _each(block, change, "content" if isinstance(block, list) else "")
    encoded = "data" if block.get("type") in _ENCODED else "blob" if "uri" in block else None
    return {
        change(name): child if name == encoded else _block(child, change) if name in _NESTED else _each(child, change, "")
        for name, child in block.items()
    }


def _cut(result: JsonObject, size: int, max_bytes: int, room: int) -> JsonObject:
    """The beginning of a result of `size` bytes, in a `room` of bytes without marker and `_meta`."""
    kept = dict(result)
    kept.pop("_meta", None)
    content = kept.pop("content", None)
    structured = kept.pop("structuredContent", None)
    room -= len(msgspec.json.encode(kept))
    if room < 0:
        raise ToolFault(Fault.TOO_LARGE, f"The tool's result has {size} bytes, and at most {max_bytes} are taken.")
    blocks: list[Any] = []
    for block in content if isinstance(content, list) else ():
        fitting = _fitting(block, room)
        if fitting is None:
            break
        blocks.append(fitting)
        room -= len(msgspec.json.encode(fitting)) + 1
        if fitting is not block:
            break
    blocks.append({"type": "text", "text": f"[cut: the result has {size} bytes, of which at most {max_bytes} are taken]"})
    kept["content"] = blocks
    if structured is not None:
        if len(msgspec.json.encode(structured)) <= room:
            kept["structuredContent"] = structured
        else:
            kept["isError"] = True
    return kept


def _fitting(block: Any, room: int) -> Any:
    """The block, or the beginning of its text, within a room of bytes; None where nothing of it fits."""
    size = len(msgspec.json.encode(block))
    if size <= room:
        return block
    if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
        return None
    text = block["text"]
    room -= size - len(msgspec.json.encode(text))
    # A character takes at most six bytes of JSON; what of the text surely fits is found from its encoded form.
    low, high = 0, min(len(text), max(room, 0))
    while low < high:
        middle = (low + high + 1) // 2
        if len(msgspec.json.encode(text[:middle])) <= room:
            low = middle
        else:
            high = middle - 1
    return {**block, "text": text[:low]} if low else None
