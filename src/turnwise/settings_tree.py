"""How a tree of settings is read and described: any frozen tree of msgspec structs, from sources that win over those before.

A key that the tree does not have, or a value that it does not allow, refuses to start with a message that names the source and
the key, down into lists and tables of structs.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from turnwise.errors import SettingsError

SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)

Flags = Mapping[str, tuple[str, object]]
"""Flags of a command line, as they are written there, each with its dotted key and its value, None where it was not given."""

Reader = Callable[[str, object], object]
"""Makes the value of a key that has a shorter form of its own: source, what it says. Raises `SettingsError`."""

_GOT = re.compile(r", got `\w+`$")


class SettingDoc(msgspec.Struct, frozen=True):
    """One setting as docs and help show it; `range` is empty where the type says all."""

    key: str
    type: str
    default: str
    range: str
    sentence: str


class Loaded(msgspec.Struct, Generic[SettingsT], frozen=True):
    """The effective tree, and for each dotted key where its value came from."""

    settings: SettingsT
    sources: Mapping[str, str]


class Leaf(msgspec.Struct, frozen=True):
    """A key that has a value, and no section below it."""

    type: Any
    default: Any


class _Given(msgspec.Struct, frozen=True):
    """One value as a source gives it; `is_text` where the source has no types, so that "8080" may be a number."""

    source: str
    key: str
    value: object
    is_text: bool


class SettingsTree(Generic[SettingsT]):
    """Reads one tree.

    `env_prefix` begins its variables, and names that begin with `env_prefix + others` are somebody else's; `readers` are those
    of keys that have a shorter form.
    """

    def __init__(
        self, root: type[SettingsT], *, env_prefix: str, others: str = "", readers: Mapping[str, Reader] | None = None
    ) -> None:
        self.leaves: Mapping[str, Leaf] = dict(_leaves(root))
        self._root = root
        self._sections = frozenset(key.rpartition(".")[0] for key in self.leaves) - {""}
        self._variables = {env_prefix + key.replace(".", "__").upper(): key for key in self.leaves}
        # Names without `__` may be somebody else's: Kubernetes sets TURNWISE_PORT beside a service of that name.
        others = f"(?!{others}[^_])" if others else ""
        self._ours = re.compile(f"{env_prefix}{others}[^_].*__")
        self._readers = readers or {}

    def load(
        self, *, file: Path | None, environ: Mapping[str, str], overrides: Sequence[str], flags: Flags
    ) -> Loaded[SettingsT]:
        """Put the sources together, later ones over earlier ones.

        `overrides` are `section.key=value` texts. Raises `SettingsError` for a file that cannot be read, an unknown key, a
        wrong type or a value out of range.
        """
        values = {key: leaf.default for key, leaf in self.leaves.items()}
        sources = dict.fromkeys(self.leaves, "default")
        for given in (
            *(self._from_file(file) if file is not None else ()),
            *self._from_environ(environ),
            *_from_overrides(overrides),
            *(_Given(flag, key, value, is_text=True) for flag, (key, value) in flags.items() if value is not None),
        ):
            values[given.key] = self._convert(given)
            sources[given.key] = given.source
        return Loaded(settings=_build(self._root, values), sources=sources)

    def describe(self) -> list[SettingDoc]:
        """Every setting in the order of the tree; the fields of what a list or table holds follow it: `replicas[].name`."""
        return [doc for key, leaf in self.leaves.items() for doc in _docs(key, leaf)]

    def _from_file(self, file: Path) -> Iterator[_Given]:
        try:
            tree = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file}: is not valid TOML: {error}") from None
        yield from (_Given(str(file), key, value, is_text=False) for key, value in self._flatten(str(file), tree))

    def _flatten(self, source: str, tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
        for name, value in tree.items():
            key = f"{prefix}{name}"
            if key in self._sections:
                if not isinstance(value, dict):
                    raise SettingsError(f"{source}: `{key}` is a section: write [{key}] and its keys below")
                yield from self._flatten(source, value, f"{key}.")
            else:
                yield key, value

    def _from_environ(self, environ: Mapping[str, str]) -> Iterator[_Given]:
        for name, value in sorted(environ.items()):
            if name in self._variables:
                yield _Given(name, self._variables[name], value, is_text=True)
            elif self._ours.match(name):
                raise SettingsError(f"{name}: no setting has this variable{meant(name, self._variables)}")

    def _convert(self, given: _Given) -> object:
        """A value as the tree types it."""
        source, key, value = given.source, given.key, given.value
        leaf = self.leaves.get(key)
        if leaf is None:
            if key in self._sections:
                raise SettingsError(f"{source}: `{key}` is a section: name a key in it")
            raise SettingsError(f"{source}: there is no setting `{key}`{meant(key, (*self.leaves, *self._sections))}")
        if given.is_text and isinstance(value, str):
            value = self._of_text(source, key, value, base_of(leaf.type))
        if key in self._readers:
            return self._readers[key](source, value)
        return _typed(source, key, value, leaf.type, is_strict=not given.is_text)

    def _of_text(self, source: str, key: str, text: str, base: Any) -> object:
        kind = get_origin(base)
        if key not in self._readers:
            if kind is dict:
                raise SettingsError(f"{source}: `{key}` is a table: write [{key}] in the file")
            if kind is tuple and _is_struct(get_args(base)[0]):
                raise SettingsError(f"{source}: `{key}` is a list of tables: write [[{key}]] in the file")
        return [item.strip() for item in text.split(",") if item.strip()] if kind is tuple else text


def _leaves(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.name}"
        if _is_struct(field.type):
            yield from _leaves(field.type, f"{key}.")
        else:
            yield (
                key,
                Leaf(field.type, field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()),
            )


def _is_struct(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, msgspec.Struct)


def _build(struct: type[msgspec.Struct], values: Mapping[str, object], prefix: str = "") -> Any:
    arguments: dict[str, object] = {}
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.name}"
        arguments[field.name] = values[key] if key in values else _build(field.type, values, f"{key}.")
    return struct(**arguments)


def _from_overrides(overrides: Sequence[str]) -> Iterator[_Given]:
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator:
            raise SettingsError(f"--set {text}: write --set section.key=value")
        yield _Given("--set", key.strip(), value, is_text=True)


def meant(name: str, known: Iterable[str]) -> str:
    """What somebody who wrote an unknown name probably meant, as the end of a sentence; empty where nothing is close."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def explain(error: msgspec.ValidationError, wanted: Any = None) -> str:
    """What is wrong with a value, without the words that only a programmer reads."""
    if get_origin(base_of(wanted)) is Literal:
        return f"must be {_range(base_of(wanted), ())}"
    text = _GOT.sub("", str(error))
    text = text[0].lower() + text[1:]
    if " matching regex " in text and (said := next((meta.description for meta in _parts(wanted)[1] if meta.pattern), None)):
        return f"{text} ({said.rstrip('.')})"
    return text


def _typed(source: str, key: str, value: object, wanted: Any, *, is_strict: bool) -> object:
    base = base_of(wanted)
    if _is_struct(base):
        return _struct(source, key, value, base)
    inner = get_args(base)
    if get_origin(base) is tuple and _is_struct(inner[0]):
        if not isinstance(value, list):
            raise SettingsError(f"{source}: `{key}` is a list of tables: write [[{key}]]")
        return tuple(_struct(source, f"{key}[{position}]", item, inner[0]) for position, item in enumerate(value))
    if get_origin(base) is dict and _is_struct(inner[1]):
        if not isinstance(value, dict):
            raise SettingsError(f"{source}: `{key}` is a table: write [{key}.NAME]")
        return {name: _struct(source, f"{key}.{name}", item, inner[1]) for name, item in value.items()}
    try:
        converted: object = msgspec.convert(value, wanted, strict=is_strict)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{source}: `{key}`: {explain(error, wanted)}, got {value!r}") from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise SettingsError(f"{source}: `{key}`: must be finite, got {value!r}")
    return converted


def _struct(source: str, key: str, value: object, struct: type[msgspec.Struct]) -> msgspec.Struct:
    if not isinstance(value, dict):
        raise SettingsError(f"{source}: `{key}` must be a table, got {value!r}")
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for name in value:
        if name not in fields:
            raise SettingsError(f"{source}: `{key}` has no `{name}`{meant(name, fields)}")
    for name, field in fields.items():
        if field.required and name not in value:
            raise SettingsError(f"{source}: `{key}`: `{name}` is missing")
    return struct(
        **{name: _typed(source, f"{key}.{name}", item, fields[name].type, is_strict=True) for name, item in value.items()}
    )


def base_of(annotated: Any) -> Any:
    """The type itself, without its bounds and without the None of what may be left out."""
    return _parts(annotated)[0]


def _parts(annotated: Any) -> tuple[Any, list[Meta]]:
    """The type itself, and what is said of it."""
    base, metas = annotated, list[Meta]()
    while hasattr(base, "__metadata__") or get_origin(base) in {Union, UnionType}:
        metas += (meta for meta in getattr(base, "__metadata__", ()) if isinstance(meta, Meta))
        base = next(kind for kind in get_args(base) if kind is not NoneType)
    return base, metas


def _docs(key: str, leaf: Leaf) -> Iterator[SettingDoc]:
    base, metas = _parts(leaf.type)
    default = "" if leaf.default is msgspec.NODEFAULT or leaf.default is None else toml_value(leaf.default)
    sentence = next((meta.description for meta in metas if meta.description), "")
    yield SettingDoc(key=key, type=_type_name(key, base), default=default, range=_range(base, metas), sentence=sentence)
    inner = get_args(base)
    if get_origin(base) is tuple and _is_struct(inner[0]):
        yield from (doc for name, field in _leaves(inner[0], f"{key}[].") for doc in _docs(name, field))
    if get_origin(base) is dict and _is_struct(inner[1]):
        yield from (doc for name, field in _leaves(inner[1], f"{key}.NAME.") for doc in _docs(name, field))


def _type_name(key: str, base: Any) -> str:
    if get_origin(base) is Literal:
        return "string"
    if get_origin(base) in {tuple, dict}:
        outer, inner = ("list", get_args(base)[0]) if get_origin(base) is tuple else ("table", get_args(base)[1])
        return f"{outer} of {key.rpartition('.')[2] if _is_struct(inner) else 'strings'}"
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


def toml_value(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    # JSON's strings, numbers, booleans and empty tables are TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
