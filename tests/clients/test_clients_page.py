"""What the papers say of clients is what is pinned here, and the lock files name no registry."""

import json
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROW = re.compile(r"^\| \[(?P<name>[^]]+)\]\((?P<anchor>#[^)]+)\) \| (?P<packages>[^|]+) \|", re.MULTILINE)
PACKAGE = re.compile(r"`(?P<name>[a-z0-9-]+) (?P<version>[0-9][^` ]*)`")


def pinned(lock):
    found = re.findall(r"^([a-z0-9-]+)==(\S+)", (HERE / lock).read_text(encoding="utf-8"), re.MULTILINE)
    return {f"{name} {version}" for name, version in found}


def node_packages():
    return json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))["packages"]


def page():
    return (ROOT / "docs/clients.md").read_text(encoding="utf-8")


def rows():
    return [match.groupdict() for match in ROW.finditer(page())]


def test_the_page_names_only_versions_that_are_pinned():
    locked = pinned("requirements.txt") | pinned("requirements-litellm.txt")
    locked |= {f"opencode {package['version']}" for path, package in node_packages().items() if "opencode" in path}
    told = {" ".join(match.groups()) for row in rows() for match in PACKAGE.finditer(row["packages"])}
    assert len(rows()) == 9
    assert told - locked == set()


def test_each_client_of_the_page_has_its_set_up_and_its_line_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = {"#" + heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", page(), re.MULTILINE)}
    for row in rows():
        assert row["anchor"] in headings
        assert f"docs/clients.md{row['anchor']}" in readme


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-litellm.txt"])
def test_every_python_package_is_pinned_with_a_hash(lock):
    text = (HERE / lock).read_text(encoding="utf-8")
    packages = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(packages) > 20
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in text


def test_the_node_lock_pins_each_package_and_names_no_registry():
    text = (HERE / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in text
    assert all(package["integrity"] for path, package in node_packages().items() if path)
