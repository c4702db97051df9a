"""The conformance harness of MCP against the gateway, which must pass what it would pass without the gateway."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bench.tools.conformance import LEAST, examine

FOLDER = os.environ.get("TOOL_SERVERS_FOLDER")

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(FOLDER is None, reason="the tool servers are not installed: run `make test-tools`"),
]


@pytest.mark.parametrize("revision", LEAST)
def test_the_harness_fails_nothing_but_what_is_named_and_justified(revision: str):
    verdict = examine(Path(FOLDER), revision)
    assert verdict.status == 0, verdict.said[-8000:]
    assert len(verdict.passed) >= LEAST[revision], verdict.failed
