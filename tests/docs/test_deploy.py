"""What is handed to systemd, Docker and an operator is valid before anyone tries it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from turnwise import settings_sources
from turnwise.tools_gateway import settings_checks as tools_checks
from turnwise.tools_gateway import settings_sources as tools_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TOOLS_UNIT = "turnwise-tools.service"
UNITS = ("turnwise.service", TOOLS_UNIT)
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not installed")


def example():
    return settings_sources.load(file=DEPLOY / "turnwise.toml", environ={}, overrides=[], flags={}).settings


def unit_values(key, unit="turnwise.service"):
    return re.findall(rf"^{key}=(.*)$", (DEPLOY / unit).read_text(encoding="utf-8"), re.MULTILINE)


def unit_value(key, unit="turnwise.service"):
    (value,) = unit_values(key, unit)
    return value


def dockerfile():
    """Instructions of the Dockerfile, one (word, rest) each, continued lines joined and comments left out."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def test_the_example_settings_load_and_name_a_fleet():
    settings = example()
    assert [replica.name for replica in settings.replicas] == ["gpu-1", "gpu-2"]


def test_the_unit_waits_longer_than_calls_may_drain():
    assert float(unit_value("TimeoutStopSec")) > example().server.drain_timeout_s


def test_the_example_of_the_operators_file_is_read_with_what_the_unit_sets():
    environ = dict(each.split("=", 1) for each in unit_values("Environment", TOOLS_UNIT))
    settings = tools_settings.load(DEPLOY / "tools.toml", environ)
    assert [upstream.name for upstream in settings.upstreams] == ["git", "search"]
    assert settings.trust.state_dir == f"/var/lib/{unit_value('StateDirectory', TOOLS_UNIT)}"
    assert Path(settings.front.socket).parent == Path("/run") / unit_value("RuntimeDirectory", TOOLS_UNIT)
    assert tools_checks.warnings(settings, {"SEARCH_TOKEN": "x"}) == []


def test_the_gateway_runs_as_the_proxys_user_whose_socket_it_is():
    # A dynamic user without a name has that of its unit.
    assert unit_values("User") == []
    assert unit_value("DynamicUser") == unit_value("DynamicUser", TOOLS_UNIT) == "yes"
    assert unit_value("User", TOOLS_UNIT) == "turnwise"


def test_the_units_differ_only_where_they_must():
    proxy, gateway = (set(re.findall(r"^\w+=", (DEPLOY / unit).read_text(encoding="utf-8"), re.MULTILINE)) for unit in UNITS)
    # Node compiles as it runs, and may not where memory is never both written and executed.
    assert proxy - gateway == {"MemoryDenyWriteExecute="}


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line_of_the_unit(tmp_path, unit):
    # The program it names must exist for the check, so this interpreter stands in for the installed command.
    text = (DEPLOY / unit).read_text(encoding="utf-8").replace("/opt/turnwise/bin/turnwise", sys.executable)
    (tmp_path / unit).write_text(text, encoding="utf-8")
    done = subprocess.run([SYSTEMD_ANALYZE, "verify", "--man=no", tmp_path / unit], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "turnwise" in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_leaves_the_process_little_to_abuse(unit):
    done = subprocess.run(
        [SYSTEMD_ANALYZE, "security", "--offline=true", "--threshold=20", DEPLOY / unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_the_proxy_as_an_unprivileged_number_and_stops_by_draining():
    steps = dockerfile()
    last_stage = steps[max(number for number, (word, _) in enumerate(steps) if word == "FROM") :]
    rest = dict(last_stage)
    user, group = rest["USER"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert rest["STOPSIGNAL"] == "SIGTERM"
    assert rest["ENTRYPOINT"] == '["turnwise"]'
    assert rest["CMD"].startswith('["serve", "--config", "/etc/turnwise/turnwise.toml"')
    assert "/health" in rest["HEALTHCHECK"]
    assert [word for word, _ in last_stage].index("USER") < [word for word, _ in last_stage].index("ENTRYPOINT")


def test_the_image_installs_only_what_the_lock_holds():
    installs = [rest for word, rest in dockerfile() if word == "RUN" and "pip install" in rest]
    assert installs
    assert all("--require-hashes" in install or "--no-deps" in install for install in installs)


def test_everything_that_the_image_copies_exists_and_is_let_in_by_the_ignore_file():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    copied = [rest.split()[:-1] for word, rest in dockerfile() if word == "COPY" and not rest.startswith("--from")]
    sources = {source for group in copied for source in group}
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)
