"""A whole proxy in memory: the real steps, index and policy over embedded engines, with no socket between them.

On `engines.sim.virtual_time` an hour of it takes moments and two runs are equal, so it serves tests and studies of policy.
`client` and `engines` stand where the wire has its two ends; `proxy` puts everything between them together.
"""

from turnwise.proxy.memory.client import MemoryClient
from turnwise.proxy.memory.engines import MemoryEngine, MemorySim
from turnwise.proxy.memory.proxy import MemoryProxy

__all__ = ["MemoryClient", "MemoryEngine", "MemoryProxy", "MemorySim"]
