"""The few lines of vLLM's `/metrics` that we read: a scan, not a parse, for the page is large and is read often. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from turnwise.events import LoadReport

Value = TypeVar("Value")

_GAUGE = re.compile(rb"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc)(?:\{(.*)\})? (\S+)", re.MULTILINE)
_CACHE_CONFIG = re.compile(rb"^vllm:cache_config_info\{(.*)\} ", re.MULTILINE)
_STARTED = re.compile(rb"^process_start_time_seconds(?:\{.*\})? (\S+)", re.MULTILINE)
_ENGINE = re.compile(rb'engine="(\d+)"')


def read_load(page: bytes) -> LoadReport:
    """What a metrics page says of load and cache: calls summed over ranks, usage of the fullest, cache of the first.

    A line that is absent or unreadable leaves its field None.
    """
    values: dict[bytes, list[float]] = {}
    for name, _labels, value in _GAUGE.findall(page):
        try:
            values.setdefault(name, []).append(float(value))
        except ValueError:
            continue
    config = _CACHE_CONFIG.search(page)
    labels = config[1] if config else b""
    usage = values.get(b"kv_cache_usage_perc")
    return LoadReport(
        num_running=_total(values.get(b"num_requests_running")),
        num_waiting=_total(values.get(b"num_requests_waiting")),
        kv_usage=max(usage) if usage else None,
        block_size=_label(labels, b"block_size", int),
        num_blocks=_label(labels, b"num_gpu_blocks", int),
        hash_algorithm=_label(labels, b"prefix_caching_hash_algo", str),
        started_at=_value(_STARTED.search(page), float),
    )


def count_ranks(page: bytes) -> int:
    """Data-parallel ranks that report load; at least 1."""
    ranks = {match[1] for _name, labels, _value in _GAUGE.findall(page) if (match := _ENGINE.search(labels))}
    return max(1, len(ranks))


def _total(values: list[float] | None) -> int | None:
    return round(sum(values)) if values else None


def _label(labels: bytes, name: bytes, kind: Callable[[str], Value]) -> Value | None:
    return _value(re.search(rb'(?:^|,)%s="([^"]*)"' % name, labels), kind)


def _value(found: re.Match[bytes] | None, kind: Callable[[str], Value]) -> Value | None:
    try:
        return kind(found[1].decode()) if found else None
    except ValueError:
        return None
