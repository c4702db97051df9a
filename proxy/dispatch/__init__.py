"""What the proxy tells the tools gateway of the calls that a model writes; pure.

`scanner` sees arguments close, `strict` reads them, `call` and `answer` hold the states of one call and of one answer,
`offers`, `taint` and `drift` say what must not run early, and `Dispatch` is what the pipeline asks. Nothing that is told runs a
tool by itself: see decision 9.
"""

from __future__ import annotations

from turnwise.proxy.dispatch.dispatch import Dispatch, Teller, Watch
from turnwise.proxy.dispatch.drift import Combination

__all__ = ["Combination", "Dispatch", "Teller", "Watch"]
