"""The tools gateway: a separate MCP process that the proxy drives. Its door stands here; the rooms come with their own issue.

Nothing heavy is imported here, so that the proxy can name the interface without loading the gateway.
"""
