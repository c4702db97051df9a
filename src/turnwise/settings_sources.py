"""Where settings come from: defaults < TOML file < `TURNWISE_*` environment < `--set` < flags.

Every value passes the one tree in `settings`; a key that it does not have, or a value that it does not allow, refuses to start
with a message that names the source and the key.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from turnwise.errors import SettingsError
from turnwise.settings import Replica, Settings

ENV_PREFIX = "TURNWISE_"

_REPLICAS = "replicas"
_GOT = re.compile(r", got `\w+`$")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")


class SettingDoc(msgspec.Struct, frozen=True):
    """One setting as docs and help show it; `range` is empty where the type says all."""

    key: str
    type: str
    default: str
    range: str
    sentence: str


class LoadedSettings(msgspec.Struct, frozen=True):
    """The effective tree, and for each dotted key where its value came from."""

    settings: Settings
    sources: Mapping[str, str]


class _Leaf(msgspec.Struct, frozen=True):
    type: Any
    default: Any


class _Given(msgspec.Struct, frozen=True):
    """One value as a source gives it; `is_text` where the source has no types, so that "8080" may be a number."""

    source: str
    key: str
    value: object
    is_text: bool


def _leaves(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, _Leaf]]:
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _leaves(field.type, f"{key}.")
        else:
            yield key, _Leaf(field.type, field.default)


_LEAVES: Mapping[str, _Leaf] = dict(_leaves(Settings))
_SECTIONS = frozenset(key.rpartition(".")[0] for key in _LEAVES) - {""}


def load(
    *, file: Path | None, environ: Mapping[str, str], overrides: Sequence[str], flags: Mapping[str, object]
) -> LoadedSettings:
    """Put the sources together, later ones over earlier ones.

    `overrides` are `section.key=value` texts; `flags` maps dotted keys to values, None for a flag that was not given. Raises
    `SettingsError` for a file that cannot be read, an unknown key, a wrong type, a value out of range, or replicas that are not
    usable: no plain `http://host:port`, or two of one name.
    """
    values = {key: leaf.default for key, leaf in _LEAVES.items()}
    sources = dict.fromkeys(_LEAVES, "default")
    for given in (
        *(_from_file(file) if file is not None else ()),
        *_from_environ(environ),
        *_from_overrides(overrides),
        *(_Given("flag", key, value, is_text=True) for key, value in flags.items() if value is not None),
    ):
        values[given.key] = _convert(given)
        sources[given.key] = given.source
    return LoadedSettings(settings=_build(Settings, values), sources=sources)


def _from_file(file: Path) -> Iterator[_Given]:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is not valid TOML: {error}") from None
    yield from (_Given(str(file), key, value, is_text=False) for key, value in _flatten(str(file), tree))


def _flatten(source: str, tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in _SECTIONS:
            if not isinstance(value, dict):
                raise SettingsError(f"{source}: `{key}` is a section: write [{key}] and its keys below")
            yield from _flatten(source, value, f"{key}.")
        else:
            yield key, value


def _from_environ(environ: Mapping[str, str]) -> Iterator[_Given]:
    variables = {_variable(key): key for key in _LEAVES}
    for name, value in sorted(environ.items()):
        # Names without `__` may be somebody else's: Kubernetes sets TURNWISE_PORT beside a service of that name.
        if name in variables or (name.startswith(ENV_PREFIX) and "__" in name):
            if name not in variables:
                raise SettingsError(f"{name}: no setting has this variable{_meant(name, variables)}")
            yield _Given(name, variables[name], value, is_text=True)


def _variable(key: str) -> str:
    return ENV_PREFIX + key.replace(".", "__").upper()


def _from_overrides(overrides: Sequence[str]) -> Iterator[_Given]:
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator:
            raise SettingsError(f"--set {text}: write --set section.key=value")
        yield _Given("--set", key.strip(), value, is_text=True)


def _meant(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _convert(given: _Given) -> object:
    """A value as the tree types it."""
    source, key, value = given.source, given.key, given.value
    leaf = _LEAVES.get(key)
    if leaf is None:
        if key in _SECTIONS:
            raise SettingsError(f"{source}: `{key}` is a section: name a key in it")
        raise SettingsError(f"{source}: there is no setting `{key}`{_meant(key, (*_LEAVES, *_SECTIONS))}")
    if given.is_text and isinstance(value, str) and get_origin(_base(leaf.type)) is tuple:
        value = [item.strip() for item in value.split(",") if item.strip()]
    if key == _REPLICAS:
        return _replicas(source, value)
    try:
        converted: object = msgspec.convert(value, leaf.type, strict=not given.is_text)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{source}: `{key}`: {_explain(error, leaf.type)}, got {value!r}") from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise SettingsError(f"{source}: `{key}`: must be finite, got {value!r}")
    return converted


def _explain(error: msgspec.ValidationError, wanted: Any = None) -> str:
    if get_origin(_base(wanted)) is Literal:
        return f"must be {_range(_base(wanted), ())}"
    text = _GOT.sub("", str(error))
    return text[0].lower() + text[1:]


def _replicas(source: str, value: object) -> tuple[Replica, ...]:
    """Replicas from TOML tables, or from texts `URL` and `name=URL`; empty names become `host:port`."""
    if not isinstance(value, (list, tuple)):
        raise SettingsError(f"{source}: `{_REPLICAS}` must be a list of replicas, got {value!r}")
    replicas = tuple(_replica(f"{source}: `{_REPLICAS}[{position}]`", item) for position, item in enumerate(value))
    for given, what in (
        ([replica.name for replica in replicas], "are named"),
        ([replica.url for replica in replicas], "are at"),
    ):
        if repeated := next((value for value in given if given.count(value) > 1), None):
            raise SettingsError(f"{source}: `{_REPLICAS}`: two replicas {what} {repeated}")
    return replicas


def _replica(where: str, item: object) -> Replica:
    if isinstance(item, str):
        name, separator, url = item.partition("=")
        item = {"name": name, "url": url} if separator and "://" not in name else {"url": item}
    if isinstance(item, Mapping):
        for key in item:
            if key not in Replica.__struct_fields__:
                raise SettingsError(f"{where}: a replica has no `{key}`{_meant(str(key), Replica.__struct_fields__)}")
    address = _address(where, item["url"]) if isinstance(item, Mapping) and isinstance(item.get("url"), str) else ""
    try:
        replica = msgspec.convert(item, Replica)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_explain(error)}, got {item!r}") from None
    return msgspec.structs.replace(replica, name=replica.name or address, url=replica.url.rstrip("/"))


def _address(where: str, url: str) -> str:
    """`host:port` of a replica's URL; raises `SettingsError` where it is not just that."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise SettingsError(f"{where}: {url}: {error}") from None
    if parts.scheme == "https":
        raise SettingsError(f"{where}: {url}: https is not spoken to replicas; let TLS end before them and use http")
    if parts.scheme != "http":
        raise SettingsError(f"{where}: {url}: write http://host:port")
    if "@" in parts.netloc:
        raise SettingsError(f"{where}: the URL of a replica must not carry a user or password")
    if not _HOST.fullmatch(host) or port == 0:
        raise SettingsError(f"{where}: {url}: there is no {'port' if port == 0 else 'host'} in it to connect to")
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        raise SettingsError(f"{where}: {url}: must be http://host:port without a path; callers' paths are sent on as they are")
    return f"{host}:{80 if port is None else port}"


def _build(struct: type[msgspec.Struct], values: Mapping[str, object], prefix: str = "") -> Any:
    arguments: dict[str, object] = {}
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.name}"
        arguments[field.name] = values[key] if key in values else _build(field.type, values, f"{key}.")
    return struct(**arguments)


def describe() -> list[SettingDoc]:
    """Every setting in the order of the tree; the fields of one replica follow `replicas` as `replicas[].name`."""
    docs: list[SettingDoc] = []
    for key, leaf in _LEAVES.items():
        docs.append(_doc(key, leaf))
        if key == _REPLICAS:
            docs.extend(_doc(name, field) for name, field in _leaves(Replica, f"{_REPLICAS}[]."))
    return docs


def _base(annotated: Any) -> Any:
    return get_args(annotated)[0] if hasattr(annotated, "__metadata__") else annotated


def _doc(key: str, leaf: _Leaf) -> SettingDoc:
    base = _base(leaf.type)
    metas = [meta for meta in getattr(leaf.type, "__metadata__", ()) if isinstance(meta, Meta)]
    default = "" if leaf.default is msgspec.NODEFAULT else _toml(leaf.default)
    sentence = next((meta.description for meta in metas if meta.description), "")
    return SettingDoc(key=key, type=_type_name(base), default=default, range=_range(base, metas), sentence=sentence)


def _type_name(base: Any) -> str:
    if get_origin(base) is Literal:
        return "string"
    if get_origin(base) is tuple:
        return "list of replicas" if get_args(base)[0] is Replica else "list of strings"
    return {"str": "string", "int": "integer", "float": "number", "bool": "true or false"}[base.__name__]


def _range(base: Any, metas: Sequence[Meta]) -> str:
    if get_origin(base) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(base))
    words = [
        f"{word} {bound:g}" if isinstance(bound, float) else f"{word} {bound}"
        for meta in metas
        for word, bound in (("above", meta.gt), ("at least", meta.ge), ("below", meta.lt), ("at most", meta.le))
        if bound is not None
    ]
    return ", ".join(words)


def as_toml_with_sources(loaded: LoadedSettings) -> str:
    """The effective tree as TOML that loads again, each key with its source in a comment."""
    settings, sources = loaded.settings, loaded.sources
    lines = [] if settings.replicas else [f"{_REPLICAS} = []  # {sources[_REPLICAS]}"]
    for replica in settings.replicas:
        lines += ["", f"[[{_REPLICAS}]]  # {sources[_REPLICAS]}"]
        lines += [f"{name} = {_toml(value)}" for name, value in msgspec.structs.asdict(replica).items()]
    section = ""
    for key in _LEAVES:
        parent, _, name = key.rpartition(".")
        if key == _REPLICAS:
            continue
        if parent != section:
            section = parent
            lines += ["", f"[{section}]"]
        value = getattr(getattr(settings, parent), name)
        lines.append(f"{name} = {_toml(value)}  # {sources[key]}")
    return "\n".join(lines).lstrip("\n") + "\n"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
