# Longer than 300 lines because every setting is looked up in one place.
"""The one frozen tree of settings; each field carries its range and its sentence, from which help and docs are made.

`settings_sources.load` fills it: defaults < TOML file < `TURNWISE_*` environment < `--set` and flags.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PolicyName = Literal["kv_aware", "prefix", "session_hash", "least_request", "round_robin"]
EventsMode = Literal["auto", "off"]
TraceProtocol = Literal["http/protobuf", "grpc"]
ENDPOINT = r"^((tcp://[^/\s]+:[0-9]{1,5}|ipc://\S+))?$"
LogLevel = Literal["debug", "info", "warning", "error"]


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The port that clients talk to, and the admin port."""

    host: Annotated[str, Meta(description="Address that clients connect to.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port that clients connect to; 0 takes a free one.")] = 8080
    admin_host: Annotated[str, Meta(description="Address of the admin API and `/metrics`.")] = "127.0.0.1"
    admin_port: Annotated[
        int, Meta(ge=0, le=65535, description="Port of the admin API and `/metrics`; 0 takes a free one.")
    ] = 9080
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="Processes that serve clients on the same port and know the same; "
            "limits on connections hold for each, and `round_robin` takes turns within each.",
        ),
    ] = 1
    max_head_bytes: Annotated[int, Meta(ge=1024, description="Largest request head; a larger one gets 431.")] = 65536
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Largest request body; a larger one gets 413.")] = 32 * 1024 * 1024
    max_connections: Annotated[
        int, Meta(ge=1, description="Client connections served at once; one more is answered 503 and closed.")
    ] = 4096
    head_timeout_s: Annotated[float, Meta(gt=0, description="Time for a request head to arrive once begun; then 408.")] = 10.0
    body_timeout_s: Annotated[float, Meta(gt=0, description="Longest silence while a request body arrives; then 408.")] = 60.0
    keepalive_timeout_s: Annotated[float, Meta(gt=0, description="How long an idle client connection is kept.")] = 75.0
    drain_delay_s: Annotated[
        float,
        Meta(ge=0, description="How long new calls are taken after SIGTERM, while `/ready` says 503 and balancers move on."),
    ] = 0.0
    drain_timeout_s: Annotated[float, Meta(ge=0, description="How long running calls may go on after SIGTERM.")] = 300.0


class UpstreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Connections to replicas."""

    connect_timeout_s: Annotated[float, Meta(gt=0, description="Time for a connection to a replica to open.")] = 5.0
    idle_timeout_s: Annotated[
        float, Meta(gt=0, description="Longest silence of a replica within an answer; clients read for 600 s.")
    ] = 600.0
    max_idle_connections: Annotated[int, Meta(ge=0, description="Kept idle connections for each replica.")] = 256
    keepalive_s: Annotated[float, Meta(gt=0, description="How long an idle connection to a replica is kept.")] = 4.0
    max_attempts: Annotated[int, Meta(ge=1, le=5, description="Replicas tried before a call fails.")] = 2


class Replica(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One engine replica."""

    url: Annotated[str, Meta(pattern="^http://", description="Base URL of the replica, `http://host:port`.")]
    name: Annotated[
        str, Meta(pattern="^[A-Za-z0-9_.:-]*$", description="Its name in logs and metrics; `host:port` if empty.")
    ] = ""
    events: Annotated[
        EventsMode, Meta(description="`auto` asks the replica where it publishes KV events; `off` never listens.")
    ] = "auto"
    events_endpoint: Annotated[
        str, Meta(pattern="^((tcp|ipc)://.+)?$", description="ZMQ address of its KV events, where it cannot be asked.")
    ] = ""
    replay_endpoint: Annotated[
        str, Meta(pattern="^((tcp|ipc)://.+)?$", description="ZMQ address of its event replay, where it cannot be asked.")
    ] = ""
    stamp: Annotated[bool, Meta(description="Send our call id as `X-Session-ID`, so that its KV events teach us.")] = True


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How replicas are watched."""

    check_interval_s: Annotated[float, Meta(gt=0, description="Time between two health and load checks of a replica.")] = 2.0
    check_timeout_s: Annotated[float, Meta(gt=0, description="Time for one check to answer.")] = 5.0
    unhealthy_after: Annotated[int, Meta(ge=1, description="Failed checks in a row that take a replica out.")] = 2
    max_held_responses: Annotated[
        int, Meta(ge=1, description="Response ids remembered with the replica that keeps them; the least recently used goes.")
    ] = 100_000
    breaker_open_s: Annotated[
        float, Meta(gt=0, description="How long a replica that failed a call before answering gets no new ones.")
    ] = 2.0


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a replica is chosen."""

    name: Annotated[
        PolicyName,
        Meta(description="`kv_aware` compares predicted seconds, and alone hears KV events; others are there to compare with."),
    ] = "kv_aware"
    miss_weight: Annotated[
        float,
        Meta(ge=0, description="How many times an uncached prefill second counts; above 1 favours hits over short queues."),
    ] = 1.25
    queue_weight: Annotated[float, Meta(ge=0, description="How many times a second of waiting behind other calls counts.")] = (
        1.0
    )
    turns_ahead: Annotated[
        float,
        Meta(ge=0, description="Coming turns for which what a conversation has just lost to eviction counts, where it stays."),
    ] = 10.0
    recent_weight: Annotated[float, Meta(ge=0, description="How much of the seconds assigned lately counts as load.")] = 0.05
    recent_half_life_s: Annotated[float, Meta(gt=0, description="Half-life of the seconds assigned lately.")] = 10.0
    prefill_tokens_per_s: Annotated[float, Meta(gt=0, description="Prefill speed of a fleet until one is learned.")] = 8000.0
    decode_s_per_call: Annotated[
        float, Meta(ge=0, description="Seconds that a running call adds to a new call's first token.")
    ] = 0.005
    # 25 GB/s, of the 32 that PCIe 4.0 x16 has each way, and 5 GB/s of an NVMe disk whose reads pass through DRAM; over
    # 131,072 bytes a token: K and V of 8 heads of 128 in 16 bits, in the 32 layers of an 8B model.
    dram_tokens_per_s: Annotated[
        float, Meta(gt=0, description="Tokens whose KV blocks a replica brings up from DRAM in a second, until its calls tell.")
    ] = 190_000.0
    disk_tokens_per_s: Annotated[
        float, Meta(gt=0, description="Tokens whose KV blocks a replica brings up from disk in a second, until its calls tell.")
    ] = 38_000.0
    prefix_match_threshold: Annotated[
        float, Meta(ge=0, le=1, description="`prefix`: matched share of a prompt above which the holder is chosen.")
    ] = 0.5
    prefix_imbalance_abs: Annotated[
        int, Meta(ge=0, description="`prefix`: running-call gap above which load alone decides.")
    ] = 32
    prefix_imbalance_rel: Annotated[float, Meta(ge=1, description="`prefix`: and the ratio that the gap must also pass.")] = 1.1


class IndexSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds of what is remembered about KV."""

    max_evidence_bytes: Annotated[int, Meta(ge=1024, description="Memory for what engines taught about prompts.")] = (
        256 * 1024 * 1024
    )
    max_block_bytes: Annotated[
        int, Meta(ge=1024, description="Memory for the blocks of all replicas; past it the oldest of the largest holder go.")
    ] = 1024 * 1024 * 1024
    max_predicted_bytes: Annotated[
        int, Meta(ge=1024, description="Memory for the predictions of all replicas; past it the oldest of the largest go.")
    ] = 256 * 1024 * 1024
    max_predicted_tokens: Annotated[
        int, Meta(ge=1, description="Predicted tokens kept for each replica whose cache size is unknown.")
    ] = 1_000_000
    predicted_ttl_s: Annotated[float, Meta(gt=0, description="Life of a prediction where nothing confirms it.")] = 600.0
    unconfirmed_ttl_s: Annotated[
        float, Meta(gt=0, description="Life of a prediction where events come, but bear no stamps.")
    ] = 5.0
    max_blocks_per_replica: Annotated[
        int, Meta(ge=1, description="Blocks kept for each replica whose cache size is unknown; else 1.25 times its size.")
    ] = 2_000_000
    bytes_per_token: Annotated[float, Meta(gt=0, description="Prompt bytes per token until a model's own is learned.")] = 4.0
    state_file: Annotated[
        str, Meta(description="File in which what is known is kept over a restart; empty keeps nothing. Workers share it.")
    ] = ""
    state_interval_s: Annotated[
        float, Meta(gt=0, description="Time between two writings of the state file; it is also written at the end.")
    ] = 300.0


class LintSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The prefix-stability linter; see docs/prefix-stability.md."""

    max_bytes: Annotated[
        int,
        Meta(ge=0, description="Memory for the last prompt of each conversation, which the next is compared with; 0 is none."),
    ] = 64 * 1024 * 1024


class ProgramSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of programs; see docs/programs.md."""

    enabled: Annotated[
        bool,
        Meta(description="Tell programs apart, and account for their time. Off, calls are only calls, and nothing is traced."),
    ] = True
    tenant_headers: Annotated[
        tuple[Annotated[str, Meta(pattern="^[a-z0-9-]+$")], ...],
        Meta(
            description="Headers whose first value tells tenants apart, kept as a digest; no id means anything across tenants."
        ),
    ] = ("authorization", "x-api-key")
    session_headers: Annotated[
        tuple[Annotated[str, Meta(pattern="^[a-z0-9-]+$")], ...],
        Meta(description="Headers by which clients name a session, in the order in which they are believed."),
    ] = ("x-turnwise-session", "x-opencode-session", "x-session-affinity", "x-session-id", "session-id", "thread-id",
         "x-claude-code-session-id", "x-amp-thread-id")  # fmt: skip
    final_answer_tools: Annotated[tuple[str, ...], Meta(description="Tools that an agent calls to give its final answer.")] = (
        "final_answer",
    )
    quiet_s: Annotated[float, Meta(gt=0, description="Quiet time after a final answer that ends a program.")] = 60.0
    max_age_s: Annotated[
        float, Meta(gt=0, description="Age of a program, since its last call, at which it is ended unfinished.")
    ] = 3600.0
    max_programs: Annotated[
        int, Meta(ge=1, description="Live programs remembered; past it one of the largest tenant ends, answered ones first.")
    ] = 20_000
    max_calls: Annotated[
        int,
        Meta(
            ge=16,
            description="Calls of one program whose records are kept; a longer program ends, and goes on as its next part.",
        ),
    ] = 2_000
    replica_price_per_hour: Annotated[
        float, Meta(ge=0, description="What an hour of one replica costs, in any currency; 0 tells no cost.")
    ] = 0.0


class TraceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """OpenTelemetry traces of programs."""

    endpoint: Annotated[
        str,
        Meta(
            pattern="^(https?://[^/\\s]+\\S*)?$",
            description="OTLP endpoint, `http://host:4318`, or `http://host:4317` for gRPC; "
            "empty takes that of `OTEL_EXPORTER_OTLP_*`, or sends nothing.",
        ),
    ] = ""
    protocol: Annotated[TraceProtocol, Meta(description="How spans are sent.")] = "http/protobuf"
    timeout_s: Annotated[float, Meta(gt=0, description="Time for one batch of spans to be taken.")] = 10.0
    sample_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of programs that are traced, by their trace id; a client's own decision goes before it.",
        ),
    ] = 1.0
    join_client: Annotated[
        bool, Meta(description="Write a program that a client's sampled trace began into that trace; else link to it.")
    ] = True
    max_pending_bytes: Annotated[
        int, Meta(ge=128 * 1024, description="Memory for spans that wait to be sent; past it new ones are dropped and counted.")
    ] = 16 * 1024 * 1024
    flush_timeout_s: Annotated[float, Meta(ge=0, description="How long what waits may be sent after SIGTERM.")] = 5.0


class ToolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tools gateway (`turnwise tools serve`), and what is learned of tools; see docs/tools.md."""

    socket: Annotated[
        str,
        Meta(
            description="Unix socket of the tools gateway, its `front.socket`, which is told of tool calls while models write "
            "them; empty tells nobody."
        ),
    ] = ""
    max_pending_bytes: Annotated[
        int,
        Meta(ge=1024, description="What may wait for a gateway that reads too slowly; of more, whole turns are not told of."),
    ] = 4 * 1024 * 1024
    max_learned: Annotated[
        int,
        Meta(ge=0, description="Tools, of all tenants, whose run times are learned from gaps between calls; 0 learns none."),
    ] = 1024


class Edits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The closed list of changes to what passes through; see docs/edits.md."""

    request_id: Annotated[bool, Meta(description="Send `x-request-id` to the replica.")] = True
    accept_encoding: Annotated[bool, Meta(description="Ask the replica for `identity`, so that answers can be read.")] = True
    session_stamp: Annotated[bool, Meta(description="Send our call id as `X-Session-ID` where a replica's `stamp` allows.")] = (
        True
    )
    include_usage: Annotated[
        bool, Meta(description="Ask a stream for usage, and hide the chunk if the client did not ask.")
    ] = True
    resync: Annotated[
        bool,
        Meta(description="Ask one call for a full report of its KV (`vllm_xargs`) where a prompt's blocks are not known."),
    ] = True
    traceparent: Annotated[
        bool, Meta(description="Send the replica a `traceparent` under our span of the attempt, and no `baggage`.")
    ] = True
    debug_header: Annotated[bool, Meta(description="Explain each placement in `x-turnwise-placement` of every answer.")] = False


class Surface(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which paths reach a replica."""

    allow_paths: Annotated[
        tuple[Annotated[str, Meta(pattern="^/[^?#]*$")], ...], Meta(description="Paths relayed besides the built-in list.")
    ] = ()


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is written to standard error."""

    level: Annotated[LogLevel, Meta(description="Lowest level written; `info` writes one line for each call.")] = "info"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set."""

    replicas: Annotated[tuple[Replica, ...], Meta(description="The fleet.")] = ()
    server: Server = Server()
    upstream: UpstreamSettings = UpstreamSettings()
    fleet: Fleet = Fleet()
    policy: PolicySettings = PolicySettings()
    index: IndexSettings = IndexSettings()
    lint: LintSettings = LintSettings()
    programs: ProgramSettings = ProgramSettings()
    traces: TraceSettings = TraceSettings()
    tools: ToolSettings = ToolSettings()
    edits: Edits = Edits()
    surface: Surface = Surface()
    log: Log = Log()
