"""Random answers in every API that calls tools: what may run, and what may not. `make fuzz` asks the same; four minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.knowledge.row import Row
from bench.tools import Options

ROOT = Path(__file__).parents[2]
STREAMS, DISPATCH = "tests/property/test_tools_stream_fuzz.py", "tests/property/test_tools_dispatch_fuzz.py"
CASES = 10_000
"""As `TURNWISE_FUZZ_CASES`, of which each test makes twice as many answers in each API."""
HOW = (
    "Answers of random text, calls and breaks, cut anywhere, in chat, messages and responses: first alone, what is announced "
    "against what was written; then through the watcher and the gateway's runs, with agents that ask for what they read, for "
    "something else, or for nothing."
)


def rows(_options: Options) -> list[Row]:
    """Whether anything ran, or was given out, that must not."""
    environment = os.environ | {"TURNWISE_FUZZ_CASES": str(CASES)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", STREAMS, DISPATCH]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout)
    verdict = done.stdout.strip().splitlines()[-1]
    return [
        Row(
            name="fuzz",
            title="tool calls in random answers that ran twice, too early, or for a void turn",
            bar="none",
            measured="none" if done.returncode == 0 else verdict,
            holds=done.returncode == 0,
            figures={"answers in each API and test": 2 * CASES, "seconds": time.monotonic() - began},
            how=HOW,
        )
    ]
