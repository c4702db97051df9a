"""What the tests of real servers share: the servers, a folder that they work on, and a site that one of them fetches from."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.tools.stage import Site, ToolServers, Web

FOLDER = os.environ.get("TOOL_SERVERS_FOLDER")


@pytest.fixture(scope="session")
def tool_servers() -> ToolServers:
    """The installed servers."""
    if FOLDER is None:
        pytest.skip("the tool servers are not installed: run `make test-tools`")
    return ToolServers(Path(FOLDER))


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with a commit and a change, for the servers that work on files."""
    folder = tmp_path_factory.mktemp("workplace")
    identity = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A"}
    environment = os.environ | identity | {"GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull}
    (folder / "lamps.txt").write_text("nine lamps\n")
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "Count the lamps")):
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True, stdin=subprocess.DEVNULL)
    (folder / "lamps.txt").write_text("nine lamps\none broken\n")
    return folder


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    """A site on loopback."""
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Noting", (Site,), {"asked": asked})) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Web(f"http://127.0.0.1:{server.server_address[1]}", asked)
        server.shutdown()
        thread.join()
