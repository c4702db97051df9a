"""The embedded engine: a small, honest model of a continuous-batching engine with a paged prefix cache, behind vLLM's API.

`SimEngine` answers request dictionaries on whatever loop runs it, real or virtual; `serve_sim` puts it behind HTTP and ZMQ.
"""

from turnwise.engines.sim.api import SimAnswer, SimEngine
from turnwise.engines.sim.cost import PRESETS, CostModel, Preset
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.server import SimAddress, add_arguments, run, run_sim, serve_sim
from turnwise.engines.sim.virtual_time import VirtualTimeLoop, run_virtual

__all__ = [
    "PRESETS",
    "CostModel",
    "Preset",
    "SimAddress",
    "SimAnswer",
    "SimEngine",
    "SimOptions",
    "VirtualTimeLoop",
    "add_arguments",
    "run",
    "run_sim",
    "run_virtual",
    "serve_sim",
]
