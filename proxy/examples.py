"""The commands that `--help` shows as examples, by the command that they are of, and how they keep their lines."""

from __future__ import annotations

import argparse

BEGIN = """to begin with:
  turnwise demo
  turnwise doctor --replica http://gpu-1:8000 --replica http://gpu-2:8000
  turnwise serve --replica http://gpu-1:8000 --replica http://gpu-2:8000"""

SERVE = """examples:
  turnwise serve --replica http://gpu-1:8000 --replica http://gpu-2:8000
  turnwise serve --config turnwise.toml --workers 2
  TURNWISE_REPLICAS=http://gpu-1:8000,http://gpu-2:8000 turnwise serve

Clients' base_url is then http://127.0.0.1:8080/v1, and the fleet can be seen
at http://127.0.0.1:9080. docs/settings.md lists every setting."""

REPLAY = """examples:
  turnwise replay trace.jsonl.gz --policy round_robin --policy kv_aware
  turnwise replay trace.jsonl.gz --replicas 4 --limit 1000 --plot out.svg"""

LINT = """examples:
  turnwise lint calls.jsonl
  turnwise lint --show monday.jsonl.gz tuesday.jsonl.gz

Exits 0 where nothing broke, 1 where something did, 2 where a file is no
capture. docs/prefix-stability.md has the format and every cause."""


class Help(argparse.HelpFormatter):
    """Wraps descriptions to the terminal, and leaves examples, which have lines of their own, as they are written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)
