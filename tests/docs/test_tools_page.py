"""docs/tools.md: its operator's file is one that the gateway takes, without a warning but for what this machine lacks."""

import re
from pathlib import Path

from turnwise.tools_gateway.settings_checks import warnings
from turnwise.tools_gateway.settings_sources import load

PAGE = Path(__file__).parents[2] / "docs/tools.md"
EXAMPLE = re.compile(r"<!-- example: tools.toml -->\n```toml\n(.*?)```", re.DOTALL)


def test_the_operators_file_of_the_page_is_taken_as_it_stands(tmp_path):
    (text,) = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))
    file = tmp_path / "tools.toml"
    file.write_text(text)
    settings = load(file, {})
    assert warnings(settings, {"SEARCH_TOKEN": "token"}) == []
    by_name = {upstream.name: upstream for upstream in settings.upstreams}
    assert by_name["git"].tools["git_log"].early
    assert by_name["git"].tools["git_log"].deadline_s == 5
    assert by_name["search"].tools["web_search"].open_world
    assert settings.front.socket


def test_the_page_explains_every_mark():
    marks = PAGE.read_text(encoding="utf-8").partition("## Marks")[2].partition("\n## ")[0]
    for name in ("read_only", "idempotent", "early", "open_world", "shared", "ttl_s", "deadline_s"):
        assert f"`{name}" in marks
