"""Every span and attribute name of our traces, in one place; docs/programs.md lists them.

Names of the GenAI semantic conventions where there is one. These are all in development and still move, so the version is
pinned here and sent as the schema of our scope; what they have no name for is `turnwise.*`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SEMCONV_VERSION = "1.44.0"
"""Of the semantic conventions which the GenAI ones that are used here refer to."""

SCHEMA_URL = f"https://opentelemetry.io/schemas/{SEMCONV_VERSION}"
SCOPE = "turnwise"

WORKFLOW = "invoke_workflow"
TOOL = "execute_tool"
CHAT = "chat"
COMPLETION = "text_completion"
QUEUE = "turnwise.queue"
ROUTE = "turnwise.route"
UPSTREAM = "turnwise.upstream"
PREFILL = "turnwise.prefill"
DECODE = "turnwise.decode"
CLIENT_GAP = "turnwise.client_gap"

PROVIDER_NAME = "vllm"
"""What answers behind us; the conventions' list has no name for an engine of one's own."""

CLIENT_TRACE = "client_trace"
"""`link.type` of a link to the client's own span, where that is of another trace than the program's."""
TOOL_CALL = "tool_call"
"""`link.type` of a tool run's link to the call whose answer asked for it."""
TOOL_RESULT = "tool_result"
"""`link.type` of a call's link to the tool run whose result it brings."""
FOLLOWS = "follows"
"""`link.type` of a root's link to the root of the program before it in its session."""

ENGINE_SPAN = "llm_request"
ENGINE_QUEUE = "gen_ai.latency.time_in_queue"
ENGINE_PREFILL = "gen_ai.latency.time_in_model_prefill"
ENGINE_DECODE = "gen_ai.latency.time_in_model_decode"


class Attribute(msgspec.Struct, frozen=True):
    """One attribute of a span or a link; units as the name says."""

    name: str
    kind: Literal["string", "integer", "number", "boolean", "strings"]
    on: str
    """The spans that carry it."""
    help: str


CONVERSATION = Attribute("gen_ai.conversation.id", "string", "all", "The session, or the program where a client names none.")
SESSION = Attribute("session.id", "string", "all", "The same, as other backends want it.")
PROGRAM = Attribute("turnwise.program.id", "string", "all", "The program.")
OPERATION = Attribute("gen_ai.operation.name", "string", "root, call, tool", "`invoke_workflow`, `chat`, `execute_tool`, ...")

PROVIDER = Attribute("gen_ai.provider.name", "string", "call", "Always `vllm`.")
REQUEST_MODEL = Attribute("gen_ai.request.model", "string", "call", "The model that the client asked for.")
RESPONSE_MODEL = Attribute("gen_ai.response.model", "string", "call", "The same, of an answer: replicas serve models by name.")
IS_STREAM = Attribute("gen_ai.request.stream", "boolean", "call", "Whether the answer is a stream.")
MAX_TOKENS = Attribute("gen_ai.request.max_tokens", "integer", "call", "What the client allows.")
RESPONSE_ID = Attribute("gen_ai.response.id", "string", "call", "The engine's id of the answer.")
FINISH_REASONS = Attribute("gen_ai.response.finish_reasons", "strings", "call", "Why the answer ended.")
FIRST_CHUNK = Attribute(
    "gen_ai.response.time_to_first_chunk", "number", "call", "Seconds from the request's head to the first token, of streams."
)
INPUT_TOKENS = Attribute("gen_ai.usage.input_tokens", "integer", "call", "Prompt tokens.")
OUTPUT_TOKENS = Attribute("gen_ai.usage.output_tokens", "integer", "call, decode", "Generated tokens.")
CACHED_TOKENS = Attribute("gen_ai.usage.cache_read.input_tokens", "integer", "call, prefill", "Of the prompt, from KV.")
AGENT_NAME = Attribute("gen_ai.agent.name", "string", "call", "As the client names it.")
ERROR = Attribute("error.type", "string", "call, upstream", "Why it failed; one of the reasons in errors.md.")
STATUS = Attribute("http.response.status_code", "integer", "call, upstream", "What the replica answered.")
TOOL_NAME = Attribute("gen_ai.tool.name", "string", "tool", "The tool.")
TOOL_CALL_ID = Attribute("gen_ai.tool.call.id", "string", "tool", "The id of the tool call, where the API gives one.")
WORKFLOW_NAME = Attribute("gen_ai.workflow.name", "string", "root", "The program, as a client named it.")

CALL = Attribute("turnwise.call.id", "string", "call", "Our id of the call; it stamps the engine's KV events too.")
REQUEST = Attribute("turnwise.request.id", "string", "call", "`x-request-id` of its answer.")
DIALECT = Attribute("turnwise.dialect", "string", "call", "The API that the client speaks.")
AGENT = Attribute("turnwise.agent", "integer", "call", "Which conversation of the program: 0 is the first.")
TURN = Attribute("turnwise.turn", "integer", "call", "Which call of that conversation, from 0.")
BASIS = Attribute("turnwise.basis", "string", "root, call", "What told which program it belongs to.")
IS_FINAL = Attribute("turnwise.final", "boolean", "call", "Whether it answered with no tool call that would go on.")
DEPS = Attribute(
    "turnwise.deps", "strings", "call", "Its links again, `<span id>:<link type>`: some backends drop links."
)  # fmt: skip
REPLICA = Attribute("turnwise.replica", "string", "call, route, upstream", "Where it went.")
ATTEMPT = Attribute("turnwise.attempt", "integer", "upstream", "Which attempt of the call, from 1.")
PREDICTED_TOKENS = Attribute("turnwise.hit.predicted_tokens", "integer", "route", "Prompt tokens expected to be in its KV.")
REPORTED_TOKENS = Attribute("turnwise.hit.reported_tokens", "integer", "route", "Prompt tokens that were.")
COST = Attribute("turnwise.cost_s", "number", "route", "Predicted seconds for which that replica was chosen.")
FIRST_VISIBLE = Attribute("turnwise.time_to_first_visible", "number", "call", "Seconds to the first token that a user sees.")
INFERRED = Attribute("turnwise.inferred", "boolean", "tool", "Whether the run is inferred from the time between two calls.")
TOOL_HOW = Attribute(
    "turnwise.tool.how",
    "string",
    "tool",
    "Where the run is measured: `asked`, `early`, `shared`, `remembered`, `void` or `expired`.",
)
TOOL_JOINED = Attribute("turnwise.tool.joined", "boolean", "tool", "Whether it had begun when the agent asked for it.")
TOOL_QUEUE_SECONDS = Attribute("turnwise.tool.queue_s", "number", "tool", "How long it waited for its turn at the gateway.")
TOOL_RUN_SECONDS = Attribute("turnwise.tool.run_s", "number", "tool", "How long it ran.")
TOOL_PREDICTED_SECONDS = Attribute("turnwise.tool.predicted_s", "number", "tool", "How long it was expected to run.")
TOOL_HELD_SECONDS = Attribute(
    "turnwise.tool.held_s", "number", "tool", "How long its result was there before the agent asked for it."
)
TOOL_SAVED_SECONDS = Attribute(
    "turnwise.tool.saved_s", "number", "tool", "Of its run, what passed while the model still wrote."
)

OUTCOME = Attribute("turnwise.program.outcome", "string", "root", "How the program ended.")
EPOCH = Attribute("turnwise.program.epoch", "integer", "root", "Which program of that name, from 0.")
MAKESPAN = Attribute("turnwise.program.makespan_s", "number", "root", "From its first call's arrival to its last call's end.")
FTR = Attribute("turnwise.program.ftr_s", "number", "root", "To the first visible token of its final answer.")
CALLS = Attribute("turnwise.program.llm_calls", "integer", "root", "Calls.")
TOOLS = Attribute("turnwise.program.tool_calls", "integer", "root", "Tool runs: results that came back, sub-agents aside.")
FORKS = Attribute("turnwise.program.forks", "integer", "root", "Conversations that a tool call began.")
PROMPT_TOTAL = Attribute("turnwise.program.input_tokens", "integer", "root", "Prompt tokens of all calls.")
CACHED_TOTAL = Attribute("turnwise.program.kv_hit_tokens", "integer", "root", "Of these, from KV.")
COMPLETION_TOTAL = Attribute("turnwise.program.output_tokens", "integer", "root", "Generated tokens of all calls.")
ENGINE_SECONDS = Attribute("turnwise.program.engine_s", "number", "root", "Seconds that replicas worked on its calls.")
PROGRAM_COST = Attribute("turnwise.program.cost", "number", "root", "These, at `programs.replica_price_per_hour`.")
PATH_SECONDS = Attribute("turnwise.program.cp.<cause>_s", "number", "root", "Seconds of the critical path by cause.")
TOTAL_SECONDS = Attribute("turnwise.program.total.<cause>_s", "number", "root", "The same over all calls, on the path or off.")

LINK_TYPE = Attribute(
    "link.type",
    "string",
    "links",
    "`continue`, `rewrite`, `spawn`, `join`, `retry`, `tool_result`, `tool_call`, `follows` or `client_trace`.",
)

ATTRIBUTES = tuple(value for value in list(globals().values()) if isinstance(value, Attribute))
"""All of them, in the order above."""
