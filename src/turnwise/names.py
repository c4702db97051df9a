# Longer than 300 lines because every metric is looked up in one place.
"""Every metric and header name, in one place; dashboards depend on these, so a rename is a breaking change."""

from __future__ import annotations

from typing import Literal

import msgspec

HEADER_REQUEST_ID = b"x-request-id"
HEADER_REASON = b"x-turnwise-reason"
HEADER_PLACEMENT = b"x-turnwise-placement"
HEADER_DEBUG = b"x-turnwise-debug"
HEADER_STAMP = b"x-session-id"
HEADER_PROGRAM = b"x-turnwise-program"
HEADER_SESSION = b"x-turnwise-session"
HEADER_AGENT = b"x-turnwise-agent"
HEADER_CLAUDE_AGENT = b"x-claude-code-agent-id"
HEADER_CODEX_TURN = b"x-codex-turn-metadata"
HEADER_PARENT_SESSION = b"x-parent-session-id"
HEADER_RETRY_COUNT = b"x-stainless-retry-count"
HEADER_RETENTION = b"x-turnwise-retention"
HEADER_PRIORITY = b"x-turnwise-priority"
HEADER_TRACEPARENT = b"traceparent"
HEADER_BAGGAGE = b"baggage"
BAGGAGE_PROGRAM = "turnwise.program.id"


class Metric(msgspec.Struct, frozen=True):
    """One Prometheus metric: counters end in `_total`, seconds in `_seconds`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


CALLS = Metric(
    "turnwise_calls_total", "counter", ("dialect", "replica", "status", "reason"), "Calls that ended, by what became of them."
)
REFUSED = Metric("turnwise_refused_total", "counter", ("reason",), "Requests answered by the proxy itself with an error.")
ATTEMPTS_FAILED = Metric("turnwise_attempts_failed_total", "counter", ("replica", "reason"), "Attempts that a replica failed.")
CALL_SECONDS = Metric("turnwise_call_seconds", "histogram", ("dialect",), "From the request's head to the answer's last byte.")
FIRST_TOKEN_SECONDS = Metric(
    "turnwise_first_token_seconds", "histogram", ("dialect",), "From the request's head to the first token, of streams."
)
PROXY_SECONDS = Metric(
    "turnwise_proxy_seconds", "histogram", (), "From the request's head to its leaving for a replica, body included."
)
PROMPT_TOKENS = Metric("turnwise_prompt_tokens_total", "counter", ("replica",), "Prompt tokens, as the engine counted them.")
COMPLETION_TOKENS = Metric(
    "turnwise_completion_tokens_total", "counter", ("replica",), "Generated tokens, as the engine counted them."
)
CACHED_TOKENS = Metric(
    "turnwise_cached_tokens_total", "counter", ("replica",), "Prompt tokens served from KV, as the engine counted them."
)
PREDICTED_TOKENS = Metric(
    "turnwise_predicted_tokens_total",
    "counter",
    ("replica", "source"),
    "Prompt tokens that placement expected to be served from KV.",
)
PREDICTION_ERROR_TOKENS = Metric(
    "turnwise_prediction_error_tokens_total",
    "counter",
    ("replica", "direction"),
    "Tokens by which the prediction was over or under.",
)
SOURCE_HITS = Metric(
    "turnwise_source_hit_tokens_total",
    "counter",
    ("replica", "source", "kind"),
    "Prompt tokens in KV by the source that decided: predicted, and what the engine then reported.",
)
SOURCE_ERRORS = Metric(
    "turnwise_source_error_tokens_total",
    "counter",
    ("replica", "source", "kind"),
    "Tokens by which a source was off by more than a block: evicted_while_waiting, arrived_while_waiting or wrong.",
)
SOURCE_WEIGHT = Metric(
    "turnwise_source_weight",
    "gauge",
    ("replica", "source"),
    "What a token that a source claims is worth: 1 unless its claims were often not there lately.",
)
UNHASHED_BYTES = Metric(
    "turnwise_unhashed_prompt_bytes_total",
    "counter",
    ("dialect",),
    "Bytes that the engine's template may see and that routing did not hash; anything but 0 is a defect.",
)
LESSONS = Metric(
    "turnwise_lessons_total", "counter", ("result",), "Calls by what their KV events taught: taught, untaught or contradicted."
)
TEMPLATES_WHOLE_ONLY = Metric(
    "turnwise_templates_whole_only",
    "gauge",
    (),
    "Templates that contradicted what they had taught, so that only prompts that come again whole are believed of them.",
)
ANSWERS = Metric(
    "turnwise_answers_total",
    "counter",
    ("kind", "fate"),
    "Answers by what they held, and what the next turn showed of them: joined, broken or not_said.",
)
PREFIX_BREAKS = Metric(
    "turnwise_prefix_breaks_total", "counter", ("cause",), "Prompts that broke the prefix of their conversation, by why."
)
PREFIX_LOST_TOKENS = Metric(
    "turnwise_prefix_lost_tokens_total",
    "counter",
    ("cause",),
    "Prompt tokens behind such breaks, which could have been reused; an estimate by bytes where engines do not say.",
)
LINT_BYTES = Metric("turnwise_lint_bytes", "gauge", (), "Memory for prompts that the linter compares the next ones with.")
LINT_PROMPTS = Metric("turnwise_lint_prompts", "gauge", (), "Prompts that the linter compares the next ones with.")
LINT_TOO_LARGE = Metric(
    "turnwise_lint_too_large_total", "counter", (), "Prompts not kept, as they take more than a quarter of `lint.max_bytes`."
)
RUNNING = Metric("turnwise_running_calls", "gauge", ("replica",), "Calls booked on a replica that have not ended.")
PENDING_PREFILL = Metric(
    "turnwise_pending_prefill_tokens", "gauge", ("replica",), "Uncached prompt tokens booked whose answer has not begun."
)
PREFILL_RATE = Metric("turnwise_prefill_tokens_per_second", "gauge", ("replica",), "Learned prefill speed.")
TRANSFER_RATE = Metric(
    "turnwise_transfer_tokens_per_second",
    "gauge",
    ("replica", "medium"),
    "Tokens whose KV blocks a replica brings up in a second, from DRAM or disk: as set, then as its calls show.",
)
ROUTABLE = Metric("turnwise_replica_routable", "gauge", ("replica",), "1 where new calls may be sent.")
FEED_STATE = Metric("turnwise_feed_state", "gauge", ("replica", "state"), "1 for the state of a replica's event feed.")
REPLICA_STATE = Metric(
    "turnwise_replica_state",
    "gauge",
    ("replica", "state"),
    "1 where a replica is in a state that is out of the ordinary; docs/states.md explains each.",
)
FEED_BATCHES = Metric("turnwise_feed_batches_total", "counter", ("replica",), "Event batches applied.")
FEED_GAPS = Metric("turnwise_feed_gaps_total", "counter", ("replica",), "Gaps in a replica's event sequence.")
FEED_IGNORED = Metric(
    "turnwise_feed_ignored_total",
    "counter",
    ("replica", "why"),
    "Event batches that change nothing: repeated (heard before), or late (of a gap that was given up).",
)
FEED_RESTARTS = Metric("turnwise_feed_restarts_total", "counter", ("replica",), "Times a replica's event sequence began anew.")
FEED_DROPPED = Metric(
    "turnwise_feed_events_dropped_total",
    "counter",
    ("replica", "why"),
    "Events left out of their batch: of unknown_type, unreadable, oversize or contradictory.",
)
INDEX_BLOCKS = Metric("turnwise_index_blocks", "gauge", ("replica",), "KV blocks that the index says a replica's GPU holds.")
INDEX_SLOWER_BLOCKS = Metric(
    "turnwise_index_slower_blocks",
    "gauge",
    ("replica", "medium"),
    "KV blocks that the index says a replica holds in DRAM or on disk, or elsewhere, which is no residency.",
)
INDEX_COPIES = Metric(
    "turnwise_index_block_copies",
    "gauge",
    ("replica",),
    "Copies that a replica's GPU holds of its KV blocks besides the first.",
)
INDEX_EVICTED = Metric(
    "turnwise_index_evicted_blocks_total", "counter", (), "KV blocks forgotten because a bound of the index was reached."
)
INDEX_PREDICTED = Metric(
    "turnwise_index_predicted_tokens", "gauge", ("replica",), "Tokens predicted on a replica by placements."
)
EFFECTIVE_TOKENS = Metric(
    "turnwise_cache_effective_tokens",
    "gauge",
    ("replica",),
    "Tokens that a replica's cache holds in effect: as it states, then as its counts of cached tokens show.",
)
OFFLOAD_TOKENS = Metric(
    "turnwise_cache_offload_tokens",
    "gauge",
    ("replica",),
    "Tokens that a replica's cache holds in effect beyond the size it states: a slower tier.",
)
EVICTION_RATE = Metric(
    "turnwise_cache_evicted_tokens_per_second",
    "gauge",
    ("replica",),
    "Tokens believed to leave a replica's cache a second, over the last minute or so.",
)
SILENT_RESTARTS = Metric(
    "turnwise_silent_restarts_total", "counter", ("replica",), "Times a replica's cache was found empty though nobody had told."
)
UNEXPLAINED_LOSSES = Metric(
    "turnwise_unexplained_losses_total",
    "counter",
    ("replica",),
    "Counts of cached tokens too low for evictions or a restart: its template renders otherwise, or it miscounts.",
)
INDEX_UNIQUE_BLOCKS = Metric("turnwise_index_unique_blocks", "gauge", (), "Different KV blocks that some replica holds.")
INDEX_EVIDENCE = Metric("turnwise_index_evidence_entries", "gauge", (), "Prompt prefixes of which something was taught.")
INDEX_BYTES = Metric(
    "turnwise_index_bytes",
    "gauge",
    ("what",),
    "Memory of the index, as estimated: blocks of replicas, evidence of what engines taught, or predictions.",
)
INDEX_PENDING = Metric("turnwise_index_pending_lessons", "gauge", (), "Settled calls whose KV events have not all come.")
INDEX_DOMAINS = Metric("turnwise_index_domains", "gauge", (), "Groups of replicas that hash blocks alike.")
INDEX_SPLITS = Metric(
    "turnwise_index_domain_splits_total", "counter", (), "Replicas that hashed a known prompt otherwise than their domain."
)
REPORTS_ASKED = Metric(
    "turnwise_reports_asked_total", "counter", (), "Calls that were told to report all their KV, cached blocks too (a resync)."
)
INDEX_MISSING_HEADS = Metric(
    "turnwise_index_missing_heads_total", "counter", (), "Calls whose block chain began before the proxy listened."
)
INDEX_HOLES = Metric("turnwise_index_holes_total", "counter", (), "Lookups that found a block missing within a prefix.")
HELD_RESPONSES = Metric(
    "turnwise_held_responses", "gauge", (), "Stored responses of which it is known which replica keeps them."
)
SPANS_EXPORTED = Metric("turnwise_spans_exported_total", "counter", (), "Spans that the backend of traces has taken.")
SPANS_REJECTED = Metric(
    "turnwise_spans_rejected_total", "counter", (), "Spans that the backend left out of batches that it took."
)
SPANS_LOST = Metric(
    "turnwise_spans_lost_total",
    "counter",
    ("why",),
    "Calls, programs and requests of engines whose spans were not sent: full, refused, unanswered, broken or stopped.",
)
SPAN_BATCHES_FAILED = Metric("turnwise_span_batches_failed_total", "counter", (), "Batches of spans that were given up.")
SPANS_PENDING = Metric("turnwise_spans_pending_bytes", "gauge", (), "Memory of what waits to be sent as spans, as estimated.")
ENGINE_SPANS = Metric(
    "turnwise_engine_spans_total",
    "counter",
    ("what",),
    "Spans received from engines: matched to a call, whose account they refine, unmatched, or other.",
)
ENGINE_SPANS_REFUSED = Metric(
    "turnwise_engine_span_requests_refused_total", "counter", (), "Requests of engines' spans that could not be read."
)
CONNECTIONS = Metric("turnwise_client_connections", "gauge", (), "Open client connections.")
BUS_DATAGRAMS = Metric(
    "turnwise_bus_datagrams_total",
    "counter",
    ("direction",),
    "Datagrams between workers: sent or received. Several workers only.",
)
BUS_DROPPED = Metric(
    "turnwise_bus_dropped_total",
    "counter",
    ("why",),
    "What siblings were not told: full (they read too slowly), oversize, or malformed. Several workers only.",
)
BUS_SIBLINGS = Metric("turnwise_bus_siblings", "gauge", (), "Sibling workers heard lately. Several workers only.")
WORKERS = Metric("turnwise_workers", "gauge", (), "Workers that serve. Several workers only.")
WORKER_RESTARTS = Metric(
    "turnwise_worker_restarts_total", "counter", (), "Workers that ended and were started again. Several workers only."
)
INTER_TOKEN_SECONDS = Metric(
    "turnwise_inter_token_seconds", "histogram", ("dialect",), "Mean time between the tokens of a stream, of each call."
)
QUEUE_SECONDS = Metric("turnwise_queue_seconds", "histogram", (), "From a request that is read to its admission.")
PROGRAMS = Metric(
    "turnwise_programs_total",
    "counter",
    ("basis", "outcome"),
    "Programs that ended, by what told of them and how they ended.",
)
PROGRAM_SECONDS = Metric(
    "turnwise_program_seconds", "histogram", ("outcome",), "From the first arrival to the last end of a program (makespan)."
)
PROGRAM_FIRST_RESULT_SECONDS = Metric(
    "turnwise_program_first_result_seconds",
    "histogram",
    (),
    "From the first arrival to the first visible token of a program's final answer (FTR).",
)
PROGRAM_CALLS = Metric("turnwise_program_calls", "histogram", (), "Calls of a program.")
PROGRAM_TOOL_RUNS = Metric("turnwise_program_tool_runs", "histogram", (), "Tool runs of a program.")
RUNS_BY_HOW = Metric(
    "turnwise_tool_runs_total",
    "counter",
    ("how",),
    "Runs of tools: inferred, else as a gateway told: asked, early, shared, remembered; with their program void, expired.",
)
RUNS_SAVED_SECONDS = Metric(
    "turnwise_tool_saved_seconds_total",
    "counter",
    (),
    "Seconds that tools ran while the model that called them still wrote.",
)
RUNS_PREDICTION_RATIO = Metric(
    "turnwise_tool_prediction_ratio",
    "histogram",
    ("how",),
    "How long a tool ran over how long the gateway expected; 1 is right.",
)
PROGRAM_PATH_SECONDS = Metric(
    "turnwise_program_path_seconds_total",
    "counter",
    ("cause",),
    "Seconds on the critical paths of ended programs, by what they went to; they sum to the makespans.",
)
PROGRAM_ENGINE_SECONDS = Metric(
    "turnwise_program_engine_seconds",
    "histogram",
    (),
    "Replica time of a program: prefill and decode of its calls.",
)
PROGRAM_COST = Metric(
    "turnwise_program_cost_total",
    "counter",
    (),
    "What that time cost by `programs.replica_price_per_hour`, as if no call shared its replica. With a price only.",
)
WRITTEN_TOOL_CALLS = Metric(
    "turnwise_written_tool_calls_total",
    "counter",
    ("dialect", "fate"),
    "Tool calls of which the tools gateway was told: clean, or why nothing of them may be used.",
)
TOOL_CALL_DRIFTS = Metric(
    "turnwise_tool_call_drifts_total",
    "counter",
    ("engine", "model", "dialect"),
    "Tool calls that drifted: more behind closed arguments, or another id or name.",
)
EARLY_OFF = Metric(
    "turnwise_early_runs_off",
    "gauge",
    ("engine", "model", "dialect"),
    "Who drifts too often: no tool runs early for it until the proxy is started again.",
)
LINK_LISTENING = Metric("turnwise_gateway_listening", "gauge", (), "Whether the tools gateway is told of tool calls.")
LINK_TOLD = Metric("turnwise_gateway_told_total", "counter", (), "Messages about tool calls that the tools gateway was sent.")
LINK_DROPPED = Metric(
    "turnwise_gateway_dropped_total",
    "counter",
    (),
    "Messages that it was not: it did not keep up, was gone, or its turn was lost.",
)
LINK_LOST_TURNS = Metric(
    "turnwise_gateway_lost_turns_total", "counter", (), "Turns of which the tools gateway was told a part, and not the rest."
)
LINK_HEARD = Metric("turnwise_gateway_heard_total", "counter", (), "Events of tool runs that the tools gateway told.")
LIVE_PROGRAMS = Metric("turnwise_live_programs", "gauge", (), "Programs that have not ended.")
IDENTIFIED_CALLS = Metric(
    "turnwise_identified_calls_total", "counter", ("basis",), "Calls by what told to which program they belong."
)
IDS_IGNORED = Metric(
    "turnwise_ids_ignored_total", "counter", ("reason",), "Ids that clients gave of themselves and that were left out, by why."
)
HINTS_IGNORED = Metric(
    "turnwise_hints_ignored_total", "counter", ("hint",), "Hints that clients gave and that could not be understood."
)
TOOL_CALLS = Metric(
    "turnwise_tools_calls_total",
    "counter",
    ("tool", "how", "fate", "fault"),
    "Calls of tools that ended, by how their runs came about, how they ended and, without a result, why. Tools gateway.",
)
TOOL_REFUSED = Metric(
    "turnwise_tools_refused_total",
    "counter",
    ("fault",),
    "Calls that were not made, whatever they named, by why. Tools gateway.",
)
TOOL_RUN_SECONDS = Metric(
    "turnwise_tools_run_seconds", "histogram", ("tool",), "How long runs of tools took, however they ended. Tools gateway."
)
TOOL_QUEUE_SECONDS = Metric(
    "turnwise_tools_queue_seconds", "histogram", ("upstream",), "How long runs of tools waited for their turn. Tools gateway."
)
TOOL_EARLY_RUNS = Metric(
    "turnwise_tools_early_runs_total",
    "counter",
    ("tool", "end"),
    "Runs that began before the agent asked: joined by it, unclaimed, or why their turn was void. Tools gateway.",
)
TOOL_NOT_EARLY = Metric(
    "turnwise_tools_not_early_total",
    "counter",
    ("tool", "why"),
    "Announced calls whose arguments had closed and that waited for their agent all the same, by why. Tools gateway.",
)
TOOL_SAVED_SECONDS = Metric(
    "turnwise_tools_saved_seconds_total",
    "counter",
    ("tool",),
    "How much longer agents would have waited, had each run begun when it was asked for. Tools gateway.",
)
TOOL_PREDICTIONS = Metric(
    "turnwise_tools_predictions_total",
    "counter",
    ("tool", "place"),
    "Runs that ended well, by where they lay: below the expected 10th percentile, within, or above the 90th. Tools gateway.",
)
TOOL_PREDICTION_ERROR_SECONDS = Metric(
    "turnwise_tools_prediction_error_seconds_total",
    "counter",
    ("tool", "direction"),
    "Seconds by which the expected median was over or under what such runs took. Tools gateway.",
)
TOOL_EXPECTED_SECONDS = Metric(
    "turnwise_tools_expected_seconds",
    "gauge",
    ("tool", "quantile"),
    "How long the next run is expected to take, by what was learned. Tools gateway.",
)
TOOL_SUCCESS = Metric(
    "turnwise_tools_success_share", "gauge", ("tool",), "Share of the last hundred or so runs that ended well. Tools gateway."
)
TOOL_RUNNING = Metric("turnwise_tools_running", "gauge", ("tool",), "Runs under way. Tools gateway.")
TOOL_QUEUED = Metric("turnwise_tools_queued", "gauge", ("tool",), "Runs that wait for their turn. Tools gateway.")
TOOL_STATES = Metric(
    "turnwise_tools_known",
    "gauge",
    ("upstream", "state"),
    "Tools of an upstream: ready, quarantined, drifted (its pin no longer fits) or gone. Tools gateway.",
)
TOOL_ANNOUNCEMENTS = Metric(
    "turnwise_tools_announcements_total",
    "counter",
    ("end",),
    "Announcements of tool calls by what became of them: claimed, void, expired or dropped. Tools gateway.",
)
TOOL_MEMORY_BYTES = Metric("turnwise_tools_memory_bytes", "gauge", (), "Memory for remembered results. Tools gateway.")
UPSTREAM_SESSIONS = Metric(
    "turnwise_tools_upstream_sessions",
    "gauge",
    ("upstream", "state"),
    "Sessions with an upstream: connecting, up, down, or broken (started too often and waits longer). Tools gateway.",
)
UPSTREAM_DIALS = Metric(
    "turnwise_tools_upstream_dials",
    "gauge",
    ("upstream",),
    "How often the sessions that there are were connected or their programs started. Tools gateway.",
)
UPSTREAM_FAULTS = Metric(
    "turnwise_tools_upstream_faults",
    "gauge",
    ("upstream",),
    "Requests of the sessions that there are that ended in a fault of the upstream. Tools gateway.",
)
AUDIT_FAILURES = Metric(
    "turnwise_tools_audit_failures_total", "counter", (), "Records of the audit that could not be written. Tools gateway."
)
NOTICES_DROPPED = Metric(
    "turnwise_tools_notices_dropped_total",
    "counter",
    (),
    "Notifications of upstreams that no client was told of: nested too deep, or too large. Tools gateway.",
)

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order above."""
