"""The gateway's end of the local socket on which proxies tell what models write, and hear of runs.

`Link` listens and is the `Listener` of runs; each proxy that connects is a `Connection`, the `source` of what it tells.
"""

from turnwise.tools_gateway.link.server import Link, LinkStats

__all__ = ["Link", "LinkStats"]
