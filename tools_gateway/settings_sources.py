"""Where the gateway's settings come from: defaults < the operator's TOML file < `TURNWISE_TOOLS_*` environment < `--set`.

Lists and tables (upstreams, tenants, scopes) come from the file alone. `check` says what no bound of a single key can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from turnwise.settings_tree import SettingDoc, SettingsTree
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.settings_checks import check

ENV_PREFIX = "TURNWISE_TOOLS_"

_TREE = SettingsTree(Settings, env_prefix=ENV_PREFIX)


def load(file: Path | None, environ: Mapping[str, str], overrides: Sequence[str] = ()) -> Settings:
    """Put the sources together, later ones over earlier ones; `overrides` are `section.key=value` texts.

    Raises `SettingsError`, naming source and key, for a file that cannot be read, an unknown key, a wrong type, a value out of
    range, or values that do not go together.
    """
    loaded = _TREE.load(file=file, environ=environ, overrides=overrides, flags={})
    check(loaded.settings, loaded.sources, str(file) if file is not None else "settings")
    return loaded.settings


def describe() -> list[SettingDoc]:
    """Every setting in the order of the tree; what a list or table holds follows it."""
    return _TREE.describe()
