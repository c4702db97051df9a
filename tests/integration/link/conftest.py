"""The gateway's end of the socket, at a path of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.link.ends import FakeRuns

from turnwise.tools_gateway.link import Link


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "tools.sock")


@pytest.fixture
async def runs() -> FakeRuns:
    return FakeRuns()


@pytest.fixture
async def link(path: str, runs: FakeRuns) -> AsyncIterator[Link]:
    link = Link(path)
    await link.open(runs)  # type: ignore[arg-type] # it has no `call`
    yield link
    await link.close()
