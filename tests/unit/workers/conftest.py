"""Makes workers that hear one another."""

import contextlib
import socket

import pytest
from tests.unit.workers.crew import Crew, Worker

from turnwise.proxy.workers.links import Link


@pytest.fixture
def crew():
    with contextlib.ExitStack() as stack:

        def make(count=2, successors=()):
            workers = Crew()
            pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
            for end in (end for pair in pairs for end in pair):
                end.setblocking(False)
                stack.enter_context(end)
            for number in range(count):
                links = {other: Link(pairs[other][1]) for other in range(count) if other != number}
                is_successor = number in successors
                workers.append(Worker(number, pairs[number][0], links, lambda: workers.now, is_successor=is_successor))
            return workers

        yield make
