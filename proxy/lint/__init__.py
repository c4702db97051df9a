"""The prefix-stability linter: where and why the prompts of a conversation stopped extending one another.

Pure: no clock, no I/O; `now` arrives as an argument. It reports, and never rewrites a prompt. The causes are listed in
docs/prefix-stability.md.

`Linter` is the face. `conversations` knows which call follows which; `compare` finds where two prompts part, `diagnose` says
whether that is a break and why, with what `texts` finds two texts to be but for blanks, key order, dates and ids; `template`
names what only the engine's template can have done; `causes` is the closed list.
"""

from __future__ import annotations

from turnwise.proxy.lint.causes import ADVICE, Advice, Cause
from turnwise.proxy.lint.linter import Linter
from turnwise.proxy.lint.values import Finding, Followed, LinterStats, Step

__all__ = ["ADVICE", "Advice", "Cause", "Finding", "Followed", "Linter", "LinterStats", "Step"]
