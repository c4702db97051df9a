"""The admin port's paths, and what is said of them."""

import re
from pathlib import Path

from turnwise.index import KvIndex
from turnwise.proxy.admin.api import AdminApi
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.settings import Replica, Settings

ROOT = Path(__file__).parents[2]


def paths():
    """Every path of the admin port with its method, but for the parts of the page."""
    settings = Settings(replicas=(Replica(url="http://127.0.0.1:1", name="r"),))
    index, metrics = KvIndex(settings.index), Metrics()
    fleet = Fleet(settings, index)
    recorder = Recorder(index, fleet, metrics, Audit(), lambda: 0.0)
    application = AdminApi(settings, fleet, metrics, recorder, index, clock=lambda: 0.0).application()
    found = {(route.method, route.resource.canonical) for route in application.router.routes() if route.method != "HEAD"}
    return {f"{method} {path}" for method, path in found if not path.startswith("/ui/")}


def test_every_path_of_the_admin_port_is_documented():
    papers = [ROOT / "deploy/README.md", ROOT / "docs/programs.md"]
    said = set(re.findall(r"`((?:GET|POST) /[^`]*)`", "\n".join(paper.read_text(encoding="utf-8") for paper in papers)))
    unsaid = {path for path in paths() if path not in said and path.replace("/v1/", "/") not in said}
    assert not unsaid
    assert said <= paths() | {"GET /v1/workers"}  # with several workers only
