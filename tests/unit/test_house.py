"""The house rules that no linter knows."""

import importlib
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import turnwise

ROOT = Path(__file__).parents[2]
ROOMS = ("proxy", "index", "engines", "tools_gateway")
SOURCE = [*(ROOT / "src/turnwise").rglob("*.py"), *(path for room in (*ROOMS, "bench") for path in (ROOT / room).rglob("*.py"))]
MAX_LINES = 300
REASON_FOR_LENGTH = re.compile(r"^# Longer than 300 lines because \S", re.MULTILINE)


def all_modules():
    yield turnwise.__name__
    for module in pkgutil.walk_packages(turnwise.__path__, prefix="turnwise."):
        yield module.name


def test_every_room_is_a_link_into_the_package():
    for room in ROOMS:
        link = ROOT / "src/turnwise" / room
        assert link.is_symlink()
        assert link.resolve() == ROOT / room


def test_every_link_in_the_tree_is_relative_and_leads_somewhere():
    links = [path for folder in ("src", *ROOMS, "tests", "bench", "docs", "deploy") for path in (ROOT / folder).rglob("*")]
    for link in (path for path in links if path.is_symlink()):
        assert not link.readlink().is_absolute(), link
        assert link.exists(), link


def test_no_module_is_imported_under_its_bare_folder_name():
    for name in all_modules():
        importlib.import_module(name)
    strays = [name for name in sys.modules if name.split(".")[0] in ROOMS]
    assert strays == []


def test_the_walk_over_the_package_enters_every_room():
    names = set(all_modules())
    assert {f"turnwise.{room}" for room in ROOMS} <= names
    assert "turnwise.proxy.wire.ports" in names


@pytest.mark.parametrize("path", sorted(set(SOURCE)), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_long_file_says_why_it_is_long(path):
    text = path.read_text(encoding="utf-8")
    num_lines = text.count("\n")
    head = "\n".join(text.splitlines()[:40])
    assert num_lines <= MAX_LINES or REASON_FOR_LENGTH.search(head), (
        f"{path.relative_to(ROOT)} has {num_lines} lines: split it, or begin it with '# Longer than 300 lines because ...'"
    )
