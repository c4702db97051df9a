"""The proxy's end of the local socket to the tools gateway: tells what models write, and hears of runs of tools.

`Gateway` never makes anybody wait: what the tools gateway does not take is dropped, and the whole turn with it. `pauses`
learns how long tools run that clients run themselves.
"""

from turnwise.proxy.gateway.gateway import Gateway

__all__ = ["Gateway"]
