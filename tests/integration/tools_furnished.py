"""A front of two upstreams that have more than tools."""

from __future__ import annotations

from tests.integration.tools_front import Stage, tool

CAPABLE = {"prompts": {}, "resources": {"subscribe": True}, "completions": {}}


READ = {"contents": [{"uri": "x://1", "text": "one"}], "ttlMs": 1000, "cacheScope": "public"}


def furnish(stage: Stage) -> None:
    """Two upstreams, each with a prompt and a resource."""
    for number, upstream in enumerate(("a", "b")):
        stage.upstreams.capable[upstream] = CAPABLE
        answers = stage.upstreams.answers
        answers[upstream, "prompts/list"] = {"prompts": [{"name": "hello"}]}
        answers[upstream, "prompts/get"] = {"messages": [], "description": upstream}
        answers[upstream, "resources/list"] = {"resources": [{"uri": f"x://{number}", "name": upstream}]}
        answers[upstream, "resources/templates/list"] = {
            "resourceTemplates": [{"uriTemplate": f"{upstream}://{{id}}", "name": "t"}]
        }
        answers[upstream, "resources/read"] = {**READ, "_meta": {"by": upstream}}
        answers[upstream, "resources/subscribe"] = answers[upstream, "resources/unsubscribe"] = {}
        answers[upstream, "completion/complete"] = {"completion": {"values": [upstream]}}


TOOLS = [tool("echo", "a"), tool("echo", "b")]
