"""Arguments that several commands take, and what they mean."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from turnwise.errors import SettingsError
from turnwise.tools_gateway import settings_sources
from turnwise.tools_gateway.settings import Settings


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Take the operator's file, and single settings over it."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="the operator's file, TOML (docs/tools.md)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="any setting of a section, e.g. front.port=8091; may be given several times",
    )


def load_settings(args: argparse.Namespace) -> Settings:
    """The settings in force; raises `SettingsError` naming source and key."""
    return settings_sources.load(args.config, os.environ, args.overrides)


def load_settings_to_serve(args: argparse.Namespace) -> Settings:
    """The same, of a gateway that has something to serve; raises `SettingsError` where it has not."""
    settings = load_settings(args)
    if not settings.upstreams:
        raise SettingsError("no upstream is given: name MCP servers in `[[upstreams]]` of a `--config` file")
    return settings


def state_dir_of(args: argparse.Namespace, settings: Settings, otherwise: str) -> str:
    """`trust.state_dir`; raises `SettingsError` where it is not given, with what that means."""
    if not settings.trust.state_dir:
        advice = "" if args.config else ": name the operator's file with `--config`"
        raise SettingsError(f"`trust.state_dir` is not given, so {otherwise}{advice}")
    return settings.trust.state_dir
