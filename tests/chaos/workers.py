"""What tests of several workers are written in: the admin port that they share, and processes that end."""

import asyncio
import json
import os

from prometheus_client.parser import text_string_to_metric_families

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim

WORKERS = ["--workers", "2"]
JSON = (("Content-Type", "application/json"), ("x-turnwise-debug", "1"))
LIMIT_S = 30
MAX_CONNECTIONS = 128
"""Opened until every worker has one: the kernel deals them out by their port."""


class Admin:
    """The admin API of a running proxy."""

    def __init__(self, proxy, http):
        self.proxy = proxy
        self.http = http

    async def get(self, path, **query):
        return (await self.http.get(f"{self.proxy.admin_url}{path}", params=query)).json()

    async def workers(self):
        return (await self.get("/v1/workers"))["workers"]

    async def until(self, condition, path, **query):
        async with asyncio.timeout(LIMIT_S):
            while True:
                page = await self.get(path, **query)
                if condition(page):
                    return page

    async def num_connections(self):
        text = (await self.http.get(f"{self.proxy.admin_url}/metrics")).text
        return {
            sample.labels["worker"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "turnwise_client_connections"
        }


class Exits:
    """Waits for processes that are not our children."""

    def __init__(self, *pids):
        self.fds = [os.pidfd_open(pid) for pid in pids]

    async def wait(self):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(LIMIT_S):
            for fd in self.fds:
                ended = asyncio.Event()
                loop.add_reader(fd, ended.set)
                await ended.wait()
                loop.remove_reader(fd)
                os.close(fd)


def chat(*messages, model="m"):
    turns = [{"role": role, "content": content} for role, content in messages]
    return json.dumps({"model": model, "messages": turns, "max_tokens": 4}).encode()


def placed(answer):
    assert answer.status == 200, answer.body
    return dict(part.split("=", 1) for part in answer.fields["x-turnwise-placement"].split(" "))


async def sims(stack, count):
    return [(await stack.enter_async_context(serve_sim(SimEngine(SimOptions(model="m", speed=100))))).url for _ in range(count)]
