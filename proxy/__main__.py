"""The `turnwise` command, before it has read its modules: Ctrl-C ends it quietly from the start."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line of this process; returns its exit status."""
    # To raise is too little: Python reports and forgets what is raised in some of the callbacks that importing calls.
    # Where Ctrl-C is ignored, as in the background of a shell, it stays so.
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from turnwise.proxy import commands  # noqa: PLC0415 - most of a second, through which nobody is to see a traceback

    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return commands.main()


if __name__ == "__main__":
    sys.exit(main())
