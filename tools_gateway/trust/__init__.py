"""What may go to a tool and come from it, who may ask, and what is written down of it.

`guard` checks arguments and bounds `results`, `conformity` holds both against the schemas of their tool, `secrets` knows the
shapes of tokens, `tokens` tells who asks, `audit` and `chain` write what was decided, `state` and `kept_tools` keep what was
approved.
"""

from turnwise.tools_gateway.trust.audit import ToolAudit
from turnwise.tools_gateway.trust.guard import PinnedGuard
from turnwise.tools_gateway.trust.kept_tools import KeptTools
from turnwise.tools_gateway.trust.tokens import Tokens, Unauthorized

__all__ = ["KeptTools", "PinnedGuard", "Tokens", "ToolAudit", "Unauthorized"]
