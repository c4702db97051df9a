"""The tools gateway: a separate MCP process that the proxy drives, so that tools leave the model's way.

Its door stands here: `ToolsGateway` is what the proxy will ask of it. The rooms behind it (registry, upstreams, runtime table,
trust, audit) come with the gateway itself. Nothing heavy is imported here: the proxy names the interface without loading it.
"""

from __future__ import annotations

from turnwise.tools_gateway.ports import AnnouncedTool, FilledTool, ToolForecast, ToolsGateway

__all__ = ["AnnouncedTool", "FilledTool", "ToolForecast", "ToolsGateway"]
