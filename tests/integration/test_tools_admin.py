"""The tools gateway's admin port, asked over HTTP."""

import pytest
from aiohttp.test_utils import TestClient, TestServer
from tests.unit.tools_facts import Gateway

from turnwise.tools_gateway.export.admin import AdminApi


class Port:
    """An admin port that is asked by tests."""

    def __init__(self, client, gateway):
        self.gateway = gateway
        self._client = client
        self.why_not_ready = ""

    async def get(self, path, *, host=None, method="GET", **headers):
        given = headers | ({"host": host} if host else {})
        async with self._client.request(method, path, headers=given) as answer:
            body = await answer.json() if answer.content_type == "application/json" else await answer.text()
            return answer.status, body


@pytest.fixture
async def port():
    gateway = Gateway()
    gateway.complaints = ["web has no tool fecth", "files has no tool raed"]
    made = Port(None, gateway)
    api = AdminApi(gateway.sources, not_ready=lambda: made.why_not_ready, allow_hosts=["Tools.internal:9090"])
    async with TestClient(TestServer(api.application())) as client:
        made._client = client
        yield made


async def test_tools_and_sessions_are_told(port):
    status, page = await port.get("/tools")
    assert status == 200
    assert [row["name"] for row in page["tools"]] == ["files__read", "files__write", "web__fetch"]
    assert [row["state"] for row in page["sessions"]] == ["up", "down"]
    assert page["complaints"] == ["web has no tool fecth", "files has no tool raed"]


async def test_one_upstream_may_be_asked_for(port):
    _, page = await port.get("/tools?upstream=web")
    assert [row["name"] for row in page["tools"]] == ["web__fetch"]
    assert [row["upstream"] for row in page["sessions"]] == ["web"]
    assert page["complaints"] == ["web has no tool fecth"]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/tools?upstream=wbe", 404, "there are: files, web"),
        ("/tools?upsteam=web", 400, "there are: upstream"),
        ("/tolls", 404, "there is no `/tolls` here"),
    ],
)
async def test_what_there_is_not_is_an_error_that_says_what_there_is(port, path, status, said):
    answered, body = await port.get(path)
    assert answered == status
    assert said in body["error"]["message"]


async def test_metrics_come_in_the_format_that_is_asked_for(port):
    status, page = await port.get("/metrics")
    assert status == 200
    assert 'turnwise_tools_known{state="drifted",upstream="web"} 1.0' in page
    _, page = await port.get("/metrics", accept="application/openmetrics-text")
    assert page.endswith("# EOF\n")


async def test_health_and_readiness_differ(port):
    port.why_not_ready = "no upstream has been asked for its tools yet"
    assert await port.get("/health") == (200, {"status": "alive"})
    status, body = await port.get("/ready")
    assert (status, body["why"]) == (503, port.why_not_ready)
    port.why_not_ready = ""
    assert (await port.get("/ready"))[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1:9090", "[::1]:9090", "localhost", "10.1.2.3:9090", "tools.internal:9090"])
async def test_addresses_and_named_hosts_are_served(port, host):
    assert (await port.get("/tools", host=host))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "tools.internal", "127.0.0.1.evil.example", "[::1"])
async def test_another_hosts_name_is_refused_whatever_it_means(port, host):
    status, body = await port.get("/tools", host=host)
    assert status == 421
    assert "front.allow_hosts" in body["error"]["message"]


async def test_pages_of_other_hosts_may_not_act(port):
    status, _ = await port.get("/tools", method="POST", origin="https://evil.example")
    assert status == 403
    status, _ = await port.get("/tools", method="POST")
    assert status == 405
