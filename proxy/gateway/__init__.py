"""The proxy's end of the local socket to the tools gateway: tells what models write, and hears of runs of tools.

`Gateway` never makes anybody wait: what the tools gateway does not take is dropped, and the whole turn with it. `event_of`
puts what it hears into the words of programs.
"""

from turnwise.proxy.gateway.events import event_of
from turnwise.proxy.gateway.figures import DispatchFigures, GatewayFigures
from turnwise.proxy.gateway.gateway import Gateway

__all__ = ["DispatchFigures", "Gateway", "GatewayFigures", "event_of"]
