"""The engine's `/metrics` in Prometheus' text format, under vLLM's names."""

from __future__ import annotations

from collections.abc import Mapping

from turnwise.engines.sim.core import EngineCore
from turnwise.engines.sim.metrics import family, sample
from turnwise.engines.sim.options import SimOptions

HASH_ALGORITHM = "sim_xxh3_64"


def expose(core: EngineCore, options: SimOptions, control_calls: Mapping[str, int], started_at: float) -> bytes:
    """All metrics of one engine, up since Unix time `started_at`; `control_calls` is ours and counts calls of control paths."""
    labels = {"model_name": options.model, "engine": "0"}
    lines = _cache_config(core, hides_capacity=options.hides_capacity) + _load(core, labels) + _totals(core, labels)
    counted = [sample("sim:control_calls_total", {"path": path}, count) for path, count in sorted(control_calls.items())]
    lines += family("sim:control_calls", "counter", counted)
    lines += family("process_start_time_seconds", "gauge", [sample("process_start_time_seconds", {}, started_at)])
    return ("\n".join(lines) + "\n").encode()


def _cache_config(core: EngineCore, *, hides_capacity: bool) -> list[str]:
    preset = core.scheduler.preset
    capacity = {"kv_cache_size_tokens": str(preset.capacity_tokens), "num_gpu_blocks": str(preset.num_blocks)}
    labels = {
        "block_size": str(preset.block_size),
        "engine": "0",
        **({} if hides_capacity else capacity),
        "prefix_caching_hash_algo": HASH_ALGORITHM,
    }
    return family("vllm:cache_config_info", "gauge", [sample("vllm:cache_config_info", labels, 1)])


def _load(core: EngineCore, labels: Mapping[str, str]) -> list[str]:
    gauges = {
        "vllm:num_requests_running": len(core.scheduler.running),
        "vllm:num_requests_waiting": core.scheduler.num_waiting,
        "vllm:kv_cache_usage_perc": core.scheduler.pool.usage,
    }
    return [line for name, value in gauges.items() for line in family(name, "gauge", [sample(name, labels, value)])]


def _totals(core: EngineCore, labels: Mapping[str, str]) -> list[str]:
    scheduler, stats = core.scheduler, core.stats
    counters = {
        "vllm:prefix_cache_queries": scheduler.num_queried_tokens,
        "vllm:prefix_cache_hits": scheduler.num_hit_tokens,
        "vllm:prompt_tokens": stats.prompt_tokens,
        "vllm:generation_tokens": stats.generation_tokens,
        "vllm:num_preemptions": scheduler.num_preemptions,
    }
    lines: list[str] = []
    for name, count in counters.items():
        lines += family(name, "counter", [sample(f"{name}_total", labels, count)])
    finished = [
        sample("vllm:request_success_total", {**labels, "finished_reason": reason}, stats.finished[reason])
        for reason in ("stop", "length", "tool_calls", "abort")
    ]
    lines += family("vllm:request_success", "counter", finished)
    for name, histogram in (
        ("vllm:time_to_first_token_seconds", stats.first_token_s),
        ("vllm:e2e_request_latency_seconds", stats.end_to_end_s),
    ):
        lines += family(name, "histogram", histogram.samples(name, labels))
    return lines
