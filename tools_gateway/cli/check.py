"""`turnwise tools check`: whether the operator's file can be used, connecting to nothing."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from turnwise.admin.words import plural
from turnwise.errors import SettingsError
from turnwise.tools_gateway.cli.arguments import add_settings, load_settings_to_serve
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.settings_checks import warnings

HELP = "say whether the operator's file can be used, and what in it is unwise"
DESCRIPTION = "Read the operator's file and the files that it names, and say what is wrong or unwise. It connects to nothing."
MAX_SOCKET_PATH = 107
"""Bytes of the path of a Unix socket (unix(7))."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what it takes."""
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Print what is unwise; raises `SettingsError` for what is wrong."""
    # Loaded here: the proxy's command line reads this module too, and never needs keys and schemas.
    from turnwise.tools_gateway.trust.state import StateFolder  # noqa: PLC0415 - see above
    from turnwise.tools_gateway.trust.tokens import Tokens  # noqa: PLC0415 - see above

    settings = load_settings_to_serve(args)
    Tokens(settings)
    _check_folder(settings.trust.state_dir)
    pins = StateFolder(settings.trust.state_dir).pins()
    found = [*warnings(settings, os.environ), *_absent(settings)]
    if args.config is not None and _may_others_write(args.config):
        found.append(f"{args.config}: others may write it, and the commands in it run as you")
    for warning in found:
        print(f"warning: {warning}")
    num_pins = sum(map(len, pins.upstreams.values()))
    print(
        f"{plural(len(settings.upstreams), 'upstream')}, {plural(len(settings.tenants), 'tenant')}, "
        f"{plural(num_pins, 'approved definition')}: good" + (f", {plural(len(found), 'warning')}" if found else "")
    )
    return 0


def _check_folder(state_dir: str) -> None:
    """Raise `SettingsError` for a folder of state that is not there and cannot be made, or cannot be written."""
    if state_dir:
        place = Path(state_dir)
        there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise SettingsError(f"`trust.state_dir`: {state_dir}: cannot be written")


def _absent(settings: Settings) -> Iterator[str]:
    """What is not on this machine, or not as it must be; it may come before the gateway does."""
    for position, upstream in enumerate(settings.upstreams):
        program = upstream.command[0] if upstream.command else ""
        if program and not (Path(program).is_file() and os.access(program, os.X_OK)):
            yield f"upstreams[{position}].command: {program} is no program of this machine"
    if settings.front.socket:
        place = Path(settings.front.socket)
        if not place.is_absolute():
            yield f"front.socket: {place} is another file for every folder that somebody starts in: give an absolute path"
        if len(os.fsencode(place)) > MAX_SOCKET_PATH:
            yield f"front.socket: has {len(os.fsencode(place))} bytes, and no socket has more than {MAX_SOCKET_PATH}"


def _may_others_write(file: Path) -> bool:
    return bool(file.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))
