"""Where settings come from: defaults < TOML file < `TURNWISE_*` environment < `--set` < flags.

Every value passes the one tree in `settings`, as `settings_tree` reads it. A replica may be a table or a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from turnwise.errors import SettingsError
from turnwise.settings import Replica, Settings
from turnwise.settings_tree import Flags, Loaded, SettingDoc, SettingsTree, explain, meant, toml_value

ENV_PREFIX = "TURNWISE_"
TOOLS_ENV = "TOOLS_"
"""Behind it, variables are those of the tools gateway (`TURNWISE_TOOLS_FRONT__PORT`), and `TURNWISE_TOOLS__SOCKET` is ours."""

_REPLICAS = "replicas"
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")

LoadedSettings = Loaded[Settings]


def load(*, file: Path | None, environ: Mapping[str, str], overrides: Sequence[str], flags: Flags) -> LoadedSettings:
    """Put the sources together, later ones over earlier ones.

    `overrides` are `section.key=value` texts. Raises `SettingsError` for a file that cannot be read, an unknown key, a wrong
    type, a value out of range, or replicas that are not usable: no plain `http://host:port`, or two of one name.
    """
    return _TREE.load(file=file, environ=environ, overrides=overrides, flags=flags)


def describe() -> list[SettingDoc]:
    """Every setting in the order of the tree; the fields of one replica follow `replicas` as `replicas[].name`."""
    return _TREE.describe()


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
                raise SettingsError(f"{where}: a replica has no `{key}`{meant(str(key), Replica.__struct_fields__)}")
    address = _address(where, item["url"]) if isinstance(item, Mapping) and isinstance(item.get("url"), str) else ""
    try:
        replica = msgspec.convert(item, Replica)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {explain(error)}, got {item!r}") from None
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


_TREE = SettingsTree(Settings, env_prefix=ENV_PREFIX, others=TOOLS_ENV, readers={_REPLICAS: _replicas})


def as_toml_with_sources(loaded: LoadedSettings) -> str:
    """The effective tree as TOML that loads again, each key with its source in a comment."""
    settings, sources = loaded.settings, loaded.sources
    lines = [] if settings.replicas else [f"{_REPLICAS} = []  # {sources[_REPLICAS]}"]
    for replica in settings.replicas:
        lines += ["", f"[[{_REPLICAS}]]  # {sources[_REPLICAS]}"]
        lines += [f"{name} = {toml_value(value)}" for name, value in msgspec.structs.asdict(replica).items()]
    section = ""
    for key in _TREE.leaves:
        parent, _, name = key.rpartition(".")
        if key == _REPLICAS:
            continue
        if parent != section:
            section = parent
            lines += ["", f"[{section}]"]
        value = getattr(getattr(settings, parent), name)
        lines.append(f"{name} = {toml_value(value)}  # {sources[key]}")
    return "\n".join(lines).lstrip("\n") + "\n"
