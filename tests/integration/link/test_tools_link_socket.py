"""The path of the local socket: whose it is, what stands there, and who probes it."""

import socket
import stat
from pathlib import Path

import pytest
from tests.integration.link.ends import FakeRuns, connected, gateway, settled_loop

from turnwise.proxy.gateway.probe import Silent, probe
from turnwise.tools_gateway.link import Link


def mode(path: str) -> int | None:
    """Who may use what stands there; None where nothing does."""
    place = Path(path)
    return stat.S_IMODE(place.stat().st_mode) if place.exists() else None


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


def read(path: str) -> str:
    return Path(path).read_text()


def unlink(path: str) -> None:
    Path(path).unlink()


async def test_only_its_own_user_may_connect_and_a_socket_left_behind_is_taken_over(path: str, runs: FakeRuns):
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(path)
    left.close()
    link = Link(path)
    await link.open(runs)  # type: ignore[arg-type]
    assert mode(path) == 0o600
    with pytest.raises(OSError, match="another gateway"):
        await Link(path).open(runs)  # type: ignore[arg-type]
    await link.close()
    assert mode(path) is None


async def test_what_is_no_socket_is_not_removed(path: str, runs: FakeRuns):
    write(path, "precious")
    with pytest.raises(FileExistsError):
        await Link(path).open(runs)  # type: ignore[arg-type]
    assert read(path) == "precious"


async def test_a_gateway_that_ends_leaves_the_socket_of_the_one_after_it(path: str, runs: FakeRuns):
    first, second = Link(path), Link(path)
    await first.open(runs)  # type: ignore[arg-type]
    unlink(path)
    await second.open(runs)  # type: ignore[arg-type]
    await first.close()
    assert mode(path) == 0o600
    await second.close()


async def test_probing_names_the_gateway_or_says_what_is_wrong(path: str, runs: FakeRuns):
    with pytest.raises(Silent, match="No such file"):
        await probe(path)
    link = Link(path, "the gateway")
    await link.open(runs)  # type: ignore[arg-type]
    assert await probe(path) == "the gateway"
    await link.close()


async def test_a_path_at_which_nothing_can_be_is_complained_of_and_tried_again_without_end(caplog: pytest.LogCaptureFixture):
    async with connected(gateway("/" + "x" * 4096)) as proxy:
        await settled_loop(lambda: bool(caplog.records))
        assert not proxy.is_listening
    assert "calls of tools go on" in caplog.text
