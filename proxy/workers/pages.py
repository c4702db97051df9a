"""The admin pages of several workers as one page; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FEED_FROM_WORST = ("stale", "connecting", "partial", "live", "none")


END = "# EOF"
"""The last line of a page in OpenMetrics; the other format has none."""


def merged_metrics(pages: Mapping[int, str], own: str = "") -> str:
    """Pages in one of Prometheus' text formats as one, each sample with the label `worker`, those of `own` without.

    Nothing is summed: a sum would fall when one worker is started again, and `rate` would take that for a restart of all.
    """
    families: dict[str, list[str]] = {}
    end = ""
    for worker, page in (*((f'worker="{worker}"', page) for worker, page in pages.items()), ("", own)):
        lines: list[str] = []
        for line in page.splitlines():
            if line.startswith("# HELP "):
                lines = families.setdefault(line.split(" ", 3)[2], [line])
            elif line == END:
                end = f"{END}\n"
            elif line.startswith("#"):
                if line not in lines:
                    lines.append(line)
            elif line:
                lines.append(_labelled(line, worker))
    return "".join(f"{line}\n" for lines in families.values() for line in lines) + end


def _labelled(sample: str, label: str) -> str:
    """A line `name value` or `name{labels} value` with one label more; an exemplar behind the value stays as it is."""
    if not label:
        return sample
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f"{name}{{{label},{rest}"
    name, _, value = sample.partition(" ")
    return f"{name}{{{label}}} {value}"


def merged_replicas(lists: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The replicas as the first worker sees them, but well only where all workers find them so.

    The load that each worker tells is that of all.
    """
    merged: list[dict[str, Any]] = []
    for seen in zip(*lists, strict=True):
        feeds = [replica["feed"] for replica in seen]
        merged.append(
            {
                **seen[0],
                "is_healthy": all(replica["is_healthy"] for replica in seen),
                "is_draining": any(replica["is_draining"] for replica in seen),
                "is_routable": all(replica["is_routable"] for replica in seen),
                "feed": min(feeds, key=FEED_FROM_WORST.index),
                "states": list({state["state"]: state for replica in seen for state in replica["states"]}.values()),
            }
        )
    return merged


def merged_calls(lists: Mapping[int, list[dict[str, Any]]], limit: int) -> list[dict[str, Any]]:
    """The calls of all workers, newest first, each with its worker."""
    calls = [{**call, "worker": worker} for worker, calls in lists.items() for call in calls]
    calls.sort(key=lambda call: float(call["ended_at"]), reverse=True)
    return calls[:limit]


def merged_programs(lists: Mapping[int, list[dict[str, Any]]], limit: int) -> list[dict[str, Any]]:
    """The programs of all workers, the most recently used first, each with those that know it.

    Workers tell each other of all calls, so one that several know is as the one has it that knows most of its calls,
    and of these the one that heard of it last.
    """
    merged: dict[str, dict[str, Any]] = {}
    for worker, programs in lists.items():
        for program in programs:
            known = merged.get(program["id"])
            workers = [*(() if known is None else known["workers"]), worker]
            best = program if known is None or _how_much(program) > _how_much(known) else known
            merged[program["id"]] = {**best, "workers": workers}
    return sorted(merged.values(), key=lambda program: float(program["quiet_s"]))[:limit]


def _how_much(program: Mapping[str, Any]) -> tuple[int, float]:
    """How many calls of a program a worker knows, and how lately it heard of it."""
    return program["calls"], -program["quiet_s"]
