"""The two real replicas that `make test-vllm` keeps running beside this suite."""

from __future__ import annotations

import os

import msgspec
import pytest


class LabFleet(msgspec.Struct, frozen=True):
    """Replicas that serve one model, each on a core of its own."""

    urls: tuple[str, ...]
    model: str
    block_size: int


@pytest.fixture(scope="session")
def vllm_fleet():
    urls = tuple(url for url in os.environ.get("TURNWISE_VLLM_URLS", "").split(",") if url)
    if not urls:
        pytest.skip("no real replicas are running: use `make test-vllm`")
    return LabFleet(urls=urls, model="lab", block_size=32)
