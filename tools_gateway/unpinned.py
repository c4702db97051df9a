"""Whether a command fetches a package by its name alone, so that what runs is whatever was published last."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec


class _Runner(msgspec.Struct, frozen=True, gc=False):
    """A program that fetches what it runs."""

    verbs: tuple[tuple[str, ...], ...]
    """Words behind the program that make it do so."""
    package_options: frozenset[str]
    """Options whose value is a package, in place of the first plain argument."""
    other_options: frozenset[str] = frozenset()
    """Options whose value is none."""
    is_python: bool = False


_NPM = _Runner(
    ((),), frozenset(("-p", "--package")), frozenset(("-c", "--call", "--registry", "--userconfig", "-w", "--workspace"))
)
_UV = _Runner(
    ((),),
    frozenset(("--from", "--with")),
    frozenset(("-p", "--python", "--index", "--default-index", "--index-url", "-i", "--extra-index-url", "--cache-dir")),
    is_python=True,
)


def _behind(runner: _Runner, *verbs: tuple[str, ...]) -> _Runner:
    return msgspec.structs.replace(runner, verbs=verbs)


_RUNNERS = {
    "npx": _NPM,
    "npm": _behind(_NPM, ("exec",), ("x",)),
    "pnpm": _behind(_NPM, ("dlx",)),
    "yarn": _behind(_NPM, ("dlx",)),
    "bunx": _NPM,
    "uvx": _UV,
    "uv": _behind(_UV, ("tool", "run"), ("x",)),
    "pipx": _behind(msgspec.structs.replace(_UV, package_options=frozenset(("--spec",))), ("run",)),
}
_NPM_PINNED = re.compile(r".+@v?\d+\.\d+\.\d+[^\s|*]*|(https|file|git\+https):.*|[./].*")
_PYTHON_PINNED = re.compile(r"[^@=<>~!]+(===?\d[^*,\s]*|@\d[^*\s]*)|[./].*|.*\.(whl|tar\.gz)")


def unpinned_package(command: Sequence[str]) -> str:
    """The first package that a command fetches without an exact version; empty where it fetches none."""
    if not command:
        return ""
    runner = _RUNNERS.get(PurePosixPath(command[0]).name)
    if runner is None:
        return ""
    rest = list(command[1:])
    verb = next((verb for verb in runner.verbs if tuple(rest[: len(verb)]) == verb), None)
    if verb is None:
        return ""
    pinned = _PYTHON_PINNED if runner.is_python else _NPM_PINNED
    return next((package for package in _packages(rest[len(verb) :], runner) if not pinned.fullmatch(package)), "")


def _packages(arguments: list[str], runner: _Runner) -> list[str]:
    given: list[str] = []
    replaces_first = runner.package_options - {"--with"}
    is_named = False
    position = 0
    while position < len(arguments):
        option, equals, value = arguments[position].partition("=")
        position += 1
        if not option.startswith("-"):
            return given if is_named else [*given, arguments[position - 1]]
        if option == "--":
            continue
        if option in runner.package_options | runner.other_options and not equals:
            value = arguments[position] if position < len(arguments) else ""
            position += 1
        if option in runner.package_options:
            given.append(value)
            is_named = is_named or option in replaces_first
    return given
