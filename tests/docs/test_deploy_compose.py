"""The compose file and what it mounts agree with each other, with the settings and with the metrics."""

import functools
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from turnwise import names, settings_sources
from turnwise.admin.buckets import Buckets, histogram
from turnwise.tools_gateway import settings_checks as tools_checks
from turnwise.tools_gateway import settings_sources as tools_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SIDE = DEPLOY / "observability"
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnwise/deploy-tools-trixie/bin"
BOARDS = sorted((SIDE / "dashboards").glob("*.json"))
METRICS = {metric.name: metric for metric in names.METRICS}
METRIC_IN_QUERY = re.compile(r"\b(turnwise_[a-z_]+)(?:\{([^}]*)\})?")
RANGES = {"$__rate_interval": "1m", "$__range": "1h"}
"""What Grafana puts in their place."""


def tool(name):
    if not (TOOLS / name).exists():
        pytest.skip(f"{name} is not in the cache folder: run `make deploy-tools`")
    return TOOLS / name


def compose():
    """The compose file with its anchors resolved."""
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def services():
    return list(compose()["services"].items())


def mounts():
    """(service, path here, path there) of everything mounted from this folder, with defaults in the place of variables."""
    for name, service in services():
        for mount in service.get("volumes", ()):
            source, target, *mode = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", mount).split(":")
            if source.startswith("."):
                assert mode == ["ro"], f"{name} could write to {source}"
                yield name, DEPLOY / source, target


def queries():
    """Every query of every dashboard, with the panel that shows it."""
    for board in BOARDS:
        for panel in json.loads(board.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield pytest.param(target["expr"], id=f"{board.stem}: {panel['title']}: {target['refId']}")


def exemplar_label():
    """The label that the exemplars of a histogram bear on the page of metrics."""
    buckets = Buckets((1.0,))
    buckets.observe(0.5, bytes(16))
    (sample,) = [sample for sample in histogram(names.CALL_SECONDS, {("chat",): buckets}).samples if sample.exemplar]
    (label,) = sample.exemplar.labels
    return label


def as_asked(query):
    """A query as Prometheus gets it."""
    return functools.reduce(lambda text, variable: text.replace(variable, RANGES[variable]), RANGES, query)


def metric_of(sample):
    """The metric that a sample in a query belongs to, and what is asked of it."""
    if sample in METRICS:
        assert METRICS[sample].kind != "histogram", f"{sample} has buckets, a sum and a count"
        return METRICS[sample]
    base, _, suffix = sample.rpartition("_")
    assert suffix in {"bucket", "sum", "count"}
    assert METRICS[base].kind == "histogram"
    return METRICS[base]


@pytest.mark.parametrize("profile", [[], ["--profile", "sim"]], ids=["own fleet", "sim"])
def test_docker_compose_understands_the_file(profile):
    command = [tool("docker-compose"), "-f", DEPLOY / "compose.yaml", *profile, "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_image_is_ours_or_of_one_version():
    images = {service["image"] for _, service in services()}
    assert {image for image in images if not re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image)} == {"turnwise"}


@pytest.mark.parametrize(("name", "service"), services())
def test_a_service_can_write_nowhere_it_need_not_and_gains_no_rights(name, service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_ports_are_published_on_loopback_alone():
    published = [port for _, service in services() for port in service.get("ports", ())]
    assert len(published) >= 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_server_can_be_asked_whether_it_is_well():
    # Our image asks itself; the agents serve nobody.
    assert {name for name, service in services() if "healthcheck" not in service} == {"turnwise", "agents"}


def test_what_is_mounted_exists_and_is_read_only():
    found = list(mounts())
    assert {name for name, _, _ in found} >= {"turnwise", "tools", "jaeger", "prometheus", "grafana", "agents"}
    assert [str(path) for _, path, _ in found if not path.exists()] == []


def test_the_proxy_starts_with_these_settings_and_is_given_time_to_drain():
    service = compose()["services"]["turnwise"]
    environ = {name: str(value) for name, value in service["environment"].items()}
    loaded = settings_sources.load(file=SIDE / "turnwise.toml", environ=environ, overrides=[], flags={}).settings
    assert loaded.traces.endpoint == "http://jaeger:4318"
    assert loaded.server.admin_host == "0.0.0.0"
    assert int(service["stop_grace_period"].removesuffix("s")) > loaded.server.drain_timeout_s
    sims = {name for name, service in services() if service.get("profiles") == ["sim"]} - {"agents"}
    assert loaded.tools.socket == compose()["services"]["tools"]["environment"]["TURNWISE_TOOLS_FRONT__SOCKET"]
    assert {replica.url for replica in loaded.replicas} == {f"http://{name}:8000" for name in sims}


def test_the_gateway_starts_with_its_settings_and_is_found_where_others_look_for_it():
    service = compose()["services"]["tools"]
    environ = {name: str(value) for name, value in service["environment"].items()}
    settings = tools_settings.load(SIDE / "tools.toml", environ)
    assert tools_checks.warnings(settings, environ) == [
        "upstreams[0].trusted: whatever house says of its tools is approved, now and when it changes",
        "front.admin_host: whoever reaches the admin port reads the tools, their run times and the metrics",
    ]
    (upstream,) = settings.upstreams
    assert upstream.command[-1] in [there for name, _, there in mounts() if name == "tools"]
    url, token = compose()["services"]["agents"]["entrypoint"][-2:]
    assert settings.tenants[0].token_sha256 == (hashlib.sha256(token.encode()).hexdigest(),)
    jobs = yaml.safe_load((SIDE / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (target,) = [job["static_configs"][0]["targets"][0] for job in jobs if job["job_name"] == "turnwise-tools"]
    assert {urlsplit(url).netloc, target} == set(settings.front.allow_hosts)
    assert {f"tools:{settings.front.port}", f"tools:{settings.front.admin_port}"} == set(settings.front.allow_hosts)


def test_proxy_and_gateway_share_a_folder_for_their_socket_that_the_images_user_may_write_to():
    made = compose()
    for name in ("turnwise", "tools"):
        service = made["services"][name]
        socket = service["environment"].get("TURNWISE_TOOLS__SOCKET") or service["environment"]["TURNWISE_TOOLS_FRONT__SOCKET"]
        assert f"tools-socket:{Path(socket).parent}" in service["volumes"]
    user = re.search(r"^USER (\d+):(\d+)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for volume in ("tools-socket", "tools-state"):
        assert made["volumes"][volume]["driver_opts"]["o"].startswith(f"uid={user[1]},gid={user[2]},")


def test_jaeger_takes_otlp_where_the_proxy_sends_it_and_keeps_it_where_its_page_looks():
    config = yaml.safe_load((SIDE / "jaeger.yaml").read_text(encoding="utf-8"))
    assert {receiver["endpoint"] for receiver in config["receivers"]["otlp"]["protocols"].values()} == {
        "0.0.0.0:4317",
        "0.0.0.0:4318",
    }
    (pipeline,) = config["service"]["pipelines"].values()
    for part in ("receivers", "processors", "exporters"):
        assert pipeline[part] == list(config[part])
    assert set(config["service"]["extensions"]) == set(config["extensions"])
    (store,) = config["extensions"]["jaeger_storage"]["backends"]
    assert config["exporters"]["jaeger_storage_exporter"]["trace_storage"] == store
    assert config["extensions"]["jaeger_query"]["storage"]["traces"] == store


def test_prometheus_understands_its_settings():
    done = subprocess.run(
        [tool("promtool"), "check", "config", SIDE / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_asks_for_exemplars_and_keeps_them():
    job, _ = yaml.safe_load((SIDE / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert job["scrape_protocols"][0].startswith("OpenMetricsText")
    assert "--enable-feature=exemplar-storage" in compose()["services"]["prometheus"]["command"]


def test_an_exemplar_opens_its_trace_in_jaeger():
    sources = yaml.safe_load((SIDE / "provisioning/datasources/datasources.yaml").read_text(encoding="utf-8"))["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    inside, outside = by_uid["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert {inside["name"], outside["name"]} == {exemplar_label()}
    assert by_uid[inside["datasourceUid"]]["type"] == "jaeger"
    page = re.fullmatch(r"http://(127\.0\.0\.1:\d+)/trace/\$\$\{__value\.raw\}", outside["url"])[1]
    assert f"{page}:16686" in compose()["services"]["jaeger"]["ports"]
    marked = [
        target["expr"]
        for board in BOARDS
        for panel in json.loads(board.read_text(encoding="utf-8"))["panels"]
        for target in panel["targets"]
        if target.get("exemplar")
    ]
    assert marked
    assert all("_bucket" in query for query in marked), "only buckets have exemplars"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_a_dashboard_is_one_that_grafana_takes(board):
    made = json.loads(board.read_text(encoding="utf-8"))
    assert made["uid"].startswith("turnwise-")
    ids = [panel["id"] for panel in made["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in made["panels"]:
        assert panel["description"], f"{panel['title']} is not explained"
        places = panel["gridPos"]
        assert places["x"] + places["w"] <= 24
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"prometheus"}


def test_dashboards_differ_in_their_ids_and_one_of_them_is_the_first_page():
    made = [json.loads(board.read_text(encoding="utf-8")) for board in BOARDS]
    assert len({board["uid"] for board in made}) == len(made) == 4
    first = compose()["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(first).name in {board.name for board in BOARDS}


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_asks_for_metrics_and_labels_that_there_are(query):
    found = METRIC_IN_QUERY.findall(query)
    assert found
    asked = set(re.findall(r"\bby \(([^)]*)\)", query))
    labels_by = {label.strip() for group in asked for label in group.split(",")} - {"le"}
    for sample, selector in found:
        metric = metric_of(sample)
        labels = {matcher.partition("=")[0].rstrip("!") for matcher in re.findall(r'\w+!?=~?"', selector)}
        assert labels <= set(metric.labels), f"{sample} has no such label"
        assert labels_by <= set(metric.labels), f"{sample} cannot be summed so"
        if metric.kind != "gauge":
            assert re.search(rf"(rate|increase)\({sample}\b", query), f"{sample} only ever grows"


def test_every_query_is_well_formed(tmp_path):
    asked = [as_asked(param.values[0]) for param in queries()]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    command = [tool("promtool"), "check", "rules", tmp_path / "rules.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
