"""`turnwise tools check`: whether the operator's file can be used, connecting to nothing."""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path

from turnwise.admin.words import plural
from turnwise.tools_gateway.cli.arguments import add_settings, load_settings
from turnwise.tools_gateway.settings_checks import warnings

HELP = "say whether the operator's file can be used, and what in it is unwise"
DESCRIPTION = "Read the operator's file and the files that it names, and say what is wrong or unwise. It connects to nothing."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what it takes."""
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Print what is unwise; raises `SettingsError` for what is wrong."""
    # Loaded here: the proxy's command line reads this module too, and never needs keys and schemas.
    from turnwise.tools_gateway.trust.state import StateFolder  # noqa: PLC0415 - see above
    from turnwise.tools_gateway.trust.tokens import Tokens  # noqa: PLC0415 - see above

    settings = load_settings(args)
    Tokens(settings)
    pins = StateFolder(settings.trust.state_dir).pins()
    found = warnings(settings, os.environ)
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


def _may_others_write(file: Path) -> bool:
    return bool(file.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))
