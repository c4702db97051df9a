"""`turnwise tools audit`: read what was decided of calls, and whether anybody changed it since."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnwise.admin.words import clean, plural, span
from turnwise.errors import SettingsError
from turnwise.tools_gateway.cli.arguments import add_settings, load_settings, state_dir_of

if TYPE_CHECKING:
    from turnwise.tools_gateway.values import JsonObject

HELP = "print the audit of calls, and say whether its chain holds"
DESCRIPTION = (
    "Print what was decided of calls of tools and what came of it. With --verify, say whether each record follows on the one "
    "before, and the hash of the last, by which you can tell later that none was taken off the end."
)
AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what it takes."""
    add_settings(parser)
    parser.add_argument("--verify", action="store_true", help="check the chain in place of printing it; 1 where it is broken")
    parser.add_argument("--since", metavar="WHEN", help="only records since then: 30m, 2h, 7d, or 2026-11-21T18:00")
    parser.add_argument("--tool", metavar="NAME", help="only records of this tool")
    parser.add_argument("--json", action="store_true", help="print records as they were written")


def run(args: argparse.Namespace) -> int:
    """Print or verify the audit; returns 1 where the chain does not hold."""
    from turnwise.tools_gateway.trust import chain  # noqa: PLC0415 - the proxy's command line reads this module too

    folder = state_dir_of(args, load_settings(args), "no audit is written")
    since = _moment(args.since) if args.since else 0.0
    # What came of a call is its tool's too.
    of_tool: set[str] = set()
    num_records = num_broken = first = 0
    for record in chain.records(Path(folder)):
        if isinstance(record, chain.Broken):
            num_broken += 1
            print(f"{record.file}: line {record.line} {record.why}", file=sys.stderr)
            continue
        num_records += 1
        first = first or record["n"]
        if args.tool and record.get("tool") == args.tool:
            of_tool.add(str(record["n"]))
        is_wanted = not args.tool or record.get("tool") == args.tool or record.get("record") in of_tool
        if not args.verify and is_wanted and record["at"] >= since:
            print(json.dumps(record, ensure_ascii=False) if args.json else _line(record))
    if not num_records and not num_broken:
        print(f"no record is kept in {folder} yet", file=sys.stderr)
    elif args.verify:
        head = chain.head(Path(folder))
        state = f"broken in {plural(num_broken, 'place')}" if num_broken else "the chain holds"
        print(f"{plural(num_records, 'record')} from number {first} on: {state}; the last has the hash {head}")
    return 1 if num_broken else 0


def _moment(text: str) -> float:
    """Seconds of the epoch; raises `SettingsError`."""
    ago = AGO.fullmatch(text.strip())
    if ago is not None:
        return time.time() - float(ago[1]) * SECONDS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--since {text}: write 30m, 2h, 7d, or a moment such as 2026-11-21T18:00") from None
    return (moment if moment.tzinfo else moment.astimezone()).timestamp()


def _line(record: JsonObject) -> str:
    """One record for a person."""
    at = datetime.fromtimestamp(record["at"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return clean(f"{at} {record['n']:>6} {record['kind']:<9} {_said(record)}")


def _said(record: dict[str, Any]) -> str:
    match record["kind"]:
        case "decided":
            who = f" for {record['tenant']}" if record["tenant"] else ""
            arguments = json.dumps(record["arguments"], ensure_ascii=False)
            method = f"{record['method']} " if "method" in record else ""
            return f"{method}{record['tool']} {record['how']}{who} {arguments}"
        case "ended":
            fault = f" ({record['fault']})" if record["fault"] else ""
            size = f", {record['result_bytes']} bytes" if "result_bytes" in record else ""
            return f"of {record['record']}: {record['fate']}{fault} after {span(record['seconds'])}{size}"
        case "refused":
            return f"{record['tool']}: {record['fault']}"
        case "voided":
            return f"of {record['record']}: {record['why']}"
    return ", ".join(f"{key} {value}" for key, value in record.items() if key not in {"n", "at", "kind", "before"})
