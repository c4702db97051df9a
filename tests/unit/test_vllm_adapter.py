import httpx
import pytest

from turnwise.engines.sim import SimEngine, SimOptions, run_virtual
from turnwise.engines.vllm import VllmAdapter
from turnwise.engines.vllm.adapter import reachable_endpoint
from turnwise.engines.vllm.metrics import count_ranks, read_load
from turnwise.events import EventSourceInfo, LoadReport

METRICS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="lab"} 3.0
vllm:num_requests_running_by_kind{engine="0"} 77.0
vllm:num_requests_waiting{engine="0",model_name="lab"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="lab",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="odd}name"} 0.25
vllm:cache_config_info{block_size="32",engine="0",num_gpu_blocks="264",prefix_caching_hash_algo="sha256_cbor"} 1.0
process_start_time_seconds 1.79e+09
process_open_fds 51.0
"""
MODELS = {
    "object": "list",
    "data": [{"id": "lab", "owned_by": "vllm", "root": "/m", "max_model_len": 8192}, {"id": "ad1", "root": "/a"}],
}
SOURCE = {
    "enable_kv_cache_events": True,
    "publisher": "zmq",
    "endpoint": "tcp://*:5557",
    "replay_endpoint": "tcp://*:5558",
    "topic": "kv-events",
}
BASE = "http://10.0.0.7:8000"


def replica(**answers):
    """A client of a replica that answers these paths, and 404 elsewhere."""

    def answer(request):
        return answers.get(request.url.path.strip("/").replace("/", "_"), httpx.Response(404, json={"detail": "Not Found"}))

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def whole_replica(**changed):
    return replica(
        **{
            "v1_models": httpx.Response(200, json=MODELS),
            "version": httpx.Response(200, json={"version": "0.32.0"}),
            "kv_event_sources": httpx.Response(200, json={"0": SOURCE}),
            "metrics": httpx.Response(200, content=METRICS),
            **changed,
        }
    )


async def test_discovery_reads_models_version_events_and_cache():
    async with whole_replica() as http:
        facts = await VllmAdapter().discover(http, BASE + "/")
    assert facts.models == ("lab", "ad1")
    assert (facts.max_model_len, facts.engine, facts.version) == (8192, "vllm", "0.32.0")
    assert facts.event_sources == (EventSourceInfo(0, "tcp://10.0.0.7:5557", "tcp://10.0.0.7:5558", "kv-events"),)
    assert facts.load == LoadReport(3, 2, 0.25, 32, 264, "sha256_cbor", started_at=1.79e9)


async def test_only_the_list_of_models_must_answer():
    async with replica(v1_models=httpx.Response(200, json=MODELS)) as http:
        facts = await VllmAdapter().discover(http, BASE)
    assert (facts.version, facts.event_sources, facts.load) == (None, (), LoadReport())


@pytest.mark.parametrize(
    "models", [httpx.Response(503), httpx.Response(200, content=b"<html>"), httpx.Response(200, json={"data": 3})]
)
async def test_a_replica_without_a_readable_list_of_models_is_an_http_error(models):
    async with whole_replica(v1_models=models) as http:
        with pytest.raises(httpx.HTTPError):
            await VllmAdapter().discover(http, BASE)


BAD_BODY = httpx.Response(200, content=b"<html>welcome</html>")


@pytest.mark.parametrize("bad", [httpx.Response(500), BAD_BODY, httpx.Response(200, json=[{"version": []}])])
@pytest.mark.parametrize("path", ["version", "kv_event_sources", "metrics"])
async def test_what_need_not_be_there_may_answer_anything(path, bad):
    async with whole_replica(**{path: bad}) as http:
        facts = await VllmAdapter().discover(http, BASE)
    assert facts.models == ("lab", "ad1")
    assert (facts.version is None) == (path == "version")
    assert (facts.event_sources == ()) == (path == "kv_event_sources")
    assert (facts.load == LoadReport()) == (path == "metrics")


async def test_a_replica_too_busy_to_tell_its_event_sources_is_asked_again():
    def answer(request):
        if request.url.path == "/kv_event_sources":
            raise httpx.ReadTimeout("busy", request=request)
        return httpx.Response(200, json=MODELS)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        with pytest.raises(httpx.ReadTimeout):
            await VllmAdapter().discover(http, BASE)


async def test_models_are_listed_with_adapters():
    async with whole_replica() as http:
        assert await VllmAdapter().models(http, BASE) == ("lab", "ad1")


async def test_load_without_metrics_is_unknown():
    async with replica() as http:
        assert await VllmAdapter().load(http, BASE) == LoadReport()


async def test_load_of_a_replica_that_does_not_answer_is_unknown():
    def refuse(request):
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http:
        assert await VllmAdapter().load(http, BASE) == LoadReport()


@pytest.mark.parametrize("change", [{"enable_kv_cache_events": False}, {"publisher": "null"}, {"endpoint": None}])
async def test_a_replica_that_publishes_nothing_has_no_event_source(change):
    async with whole_replica(kv_event_sources=httpx.Response(200, json={"0": {**SOURCE, **change}})) as http:
        assert (await VllmAdapter().discover(http, BASE)).event_sources == ()


async def test_a_rank_that_is_not_listed_publishes_on_the_ports_after_rank_0():
    metrics = METRICS + b'vllm:num_requests_running{engine="1",model_name="lab"} 4.0\n'
    async with whole_replica(metrics=httpx.Response(200, content=metrics)) as http:
        facts = await VllmAdapter().discover(http, BASE)
    assert [(source.rank, source.endpoint) for source in facts.event_sources] == [
        (0, "tcp://10.0.0.7:5557"),
        (1, "tcp://10.0.0.7:5558"),
    ]
    assert facts.load.num_running == 7


async def test_a_rank_listed_with_ports_of_its_own_keeps_them():
    sources = {"0": SOURCE, "1": {**SOURCE, "endpoint": "tcp://*:6001", "replay_endpoint": None}}
    async with whole_replica(kv_event_sources=httpx.Response(200, json=sources)) as http:
        facts = await VllmAdapter().discover(http, BASE)
    assert facts.event_sources[1] == EventSourceInfo(1, "tcp://10.0.0.7:6001", None, "kv-events")


@pytest.mark.parametrize(
    ("endpoint", "base_url", "seen"),
    [
        ("tcp://*:5557", "http://host:80", "tcp://host:5557"),
        ("tcp://0.0.0.0:5557", "http://host", "tcp://host:5557"),
        ("tcp://[::]:5557", "http://[fd00::1]:8000", "tcp://[fd00::1]:5557"),
        ("tcp://10.1.1.1:5557", "http://host", "tcp://10.1.1.1:5557"),
        ("ipc:///tmp/events", "http://host", "ipc:///tmp/events"),
    ],
)
def test_wildcard_hosts_become_the_replicas_own(endpoint, base_url, seen):
    assert reachable_endpoint(endpoint, base_url) == seen


@pytest.mark.parametrize("page", [b"", b"vllm:num_requests_running{} NaNo\n", b"garbage\n\xff\xfe"])
def test_a_page_without_readable_lines_says_nothing(page):
    assert read_load(page) == LoadReport()
    assert count_ranks(page) == 1


def test_a_cache_size_that_is_not_a_number_is_unknown():
    assert read_load(METRICS.replace(b'"264"', b'"None"')).num_blocks is None


def test_the_embedded_engines_metrics_are_read():
    async def main():
        async with SimEngine(SimOptions(wall_epoch_s=5e8)) as engine:
            return (await engine.handle("GET", "/metrics", {}, b"")).body

    assert read_load(run_virtual(main())) == LoadReport(0, 0, 0.0, 16, 1024, "sim_xxh3_64", started_at=5e8)
