"""Which tools there are, under which names, and which of them somebody has approved; pure.

`tools` has the registry itself. `names` makes public names, `definitions` what of a definition is pinned and shown, `schemas`
and `schema_cost` say which schemas are taken, `pins` what was approved, `access` who may call what.
"""

from turnwise.tools_gateway.registry.pins import Pin, Pins, Seen, identity
from turnwise.tools_gateway.registry.tools import ToolRegistry

__all__ = ["Pin", "Pins", "Seen", "ToolRegistry", "identity"]
