"""The errand that every client here runs: one goal, one tool, and a line of JSON at the end that says how it went.

Environment: BASE_URL (the proxy, without `/v1`); optionally MODEL, API_KEY and GOAL.
"""

import argparse
import json
import os
import sys

BASE_URL = os.environ["BASE_URL"].rstrip("/")
MODEL = os.environ.get("MODEL", "sim")
API_KEY = os.environ.get("API_KEY", "none")
GOAL = os.environ.get("GOAL", "Which coat do I need for a weekend in Rome?")
INSTRUCTIONS = (
    "You plan journeys. Look up the weather of every place before you speak of it, then answer in a few sentences: what to "
    "wear, what to pack, and what to leave at home. Name the place, say nothing of places that were not asked for, and do not "
    "guess: a traveller who packs for the wrong weather comes back with a cold and tells everyone whose advice it was."
)
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "name of the city"}},
    "required": ["city"],
    "additionalProperties": False,
}

tool_runs: list[str] = []
"""Cities for which the tool has run."""


def get_weather(city: str) -> str:
    """Tell today's weather in a city.

    Args:
        city: name of the city
    """
    tool_runs.append(city)
    return f"18 degrees and light rain in {city}, clearing up towards the evening"


def options(*flags: str, dialects: tuple[str, ...] = ()) -> argparse.Namespace:
    """Read the command line: switches by name, and `--dialect` where a client speaks several."""
    parser = argparse.ArgumentParser(epilog="BASE_URL names the proxy, e.g. http://127.0.0.1:8080")
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true", dest=f"is_{flag}")
    if dialects:
        parser.add_argument("--dialect", choices=dialects, default=dialects[0])
    return parser.parse_args()


def report(text: str) -> None:
    """Say what came of it."""
    json.dump({"text": text, "tool_runs": tool_runs}, sys.stdout)
    sys.stdout.write("\n")
