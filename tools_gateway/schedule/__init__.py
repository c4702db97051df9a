"""When a run may begin: slots of upstreams, tools and tenants, and the order of those that wait for one.

`order` is pure, `lanes` decides at once and waits for nothing, `slots` is the shell that lets coroutines wait.
"""

from turnwise.tools_gateway.schedule.lanes import Schedule, Ticket
from turnwise.tools_gateway.schedule.order import is_hopeless, rank
from turnwise.tools_gateway.schedule.slots import Slots

__all__ = ["Schedule", "Slots", "Ticket", "is_hopeless", "rank"]
