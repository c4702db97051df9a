"""Turnwise: a sidecar proxy and KV-aware load balancer for LLM agents.

This package holds the vocabulary that every room shares (types, events, errors, settings, names, dialects) and imports nothing
else of ours. The rooms are the folders at the top of the repository, linked here: `turnwise.proxy`, `turnwise.index`,
`turnwise.engines`, `turnwise.tools_gateway`.
"""

__version__ = "0.1.0"
