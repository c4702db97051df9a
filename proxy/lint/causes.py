"""Why a prompt stopped extending the one before: a closed list, each with a sentence that explains it and one that helps."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Cause(StrEnum):
    """What broke a prefix; the value is a metric label, a log field and what `turnwise lint` prints."""

    TIMESTAMP_IN_SYSTEM = "timestamp_in_system"
    RANDOM_ID_IN_SYSTEM = "random_id_in_system"
    COUNTER_IN_SYSTEM = "counter_in_system"
    SYSTEM_CHANGED = "system_changed"
    TOOL_ORDER = "tool_order"
    TOOLS_CHANGED = "tools_changed"
    VOLATILE_TOOLS = "volatile_tools"
    TEMPLATE_ARGUMENTS = "template_arguments"
    MODEL_CHANGED = "model_changed"
    API_CHANGED = "api_changed"
    SALT_CHANGED = "salt_changed"
    KEY_ORDER = "key_order"
    WHITESPACE = "whitespace"
    JSON_SPELLING = "json_spelling"
    DROPPED_REASONING = "dropped_reasoning"
    VOLATILE_TURN = "volatile_turn"
    EDITED_TURN = "edited_turn"
    EDITED_TOOL_RESULT = "edited_tool_result"
    TRUNCATED_HISTORY = "truncated_history"
    TEMPLATE_DATE_OR_HEAD = "template_date_or_head"
    TEMPLATE_DROPS_REASONING = "template_drops_reasoning"
    TEMPLATE_REORDERS = "template_reorders"
    UNKNOWN = "unknown"


class Advice(msgspec.Struct, frozen=True):
    """What a cause means, and what to do about it."""

    meaning: str
    remedy: str


ADVICE: Mapping[Cause, Advice] = {
    Cause.TIMESTAMP_IN_SYSTEM: Advice(
        "The system prompt holds a date or a time that differs from call to call.",
        "Take it out, round it to the day, or tell it in the newest user turn.",
    ),
    Cause.RANDOM_ID_IN_SYSTEM: Advice(
        "The system prompt holds a UUID, a hash or another random id that differs from call to call.",
        "Send the id in a header or in metadata; the model rarely needs it.",
    ),
    Cause.COUNTER_IN_SYSTEM: Advice(
        "The system prompt holds a number that differs from call to call: a counter, a budget, a size.",
        "Tell the number in the newest user turn or tool result, where nothing stands behind it.",
    ),
    Cause.SYSTEM_CHANGED: Advice(
        "The text of the system prompt is another one, under the same turns.",
        "Keep one system prompt for a conversation, and append what changes as a new turn.",
    ),
    Cause.TOOL_ORDER: Advice(
        "The same tools come in another order.",
        "Sort the tools by name before they are sent; sets and directory listings have no order.",
    ),
    Cause.TOOLS_CHANGED: Advice(
        "Tools were added, left out or described otherwise.",
        "Declare all tools from the first call on; say in a turn, or by `tool_choice`, which of them may be used.",
    ),
    Cause.VOLATILE_TOOLS: Advice(
        "The description of a tool holds a time, an id or a number that differs from call to call.",
        "Describe tools in constant text.",
    ),
    Cause.TEMPLATE_ARGUMENTS: Advice(
        "An argument that the chat template or renderer sees is another one, such as `tool_choice` or the reasoning effort.",
        "Keep these arguments the same for a conversation.",
    ),
    Cause.MODEL_CHANGED: Advice(
        "The same turns went to another model, or to another LoRA of it, and models share no KV.",
        "Change the model between conversations, or in a sub-agent with a short prompt of its own.",
    ),
    Cause.API_CHANGED: Advice(
        "The same turns came over another API, which the proxy does not take for the same prompt.",
        "Use one API for a conversation.",
    ),
    Cause.SALT_CHANGED: Advice(
        "`cache_salt`, or how images and sound are read, is another one, so the engine shares nothing.",
        "Use one salt for each user or tenant, not one for each call.",
    ),
    Cause.KEY_ORDER: Advice(
        "The same JSON, but the keys of an object, or a list without order such as `required`, come in another order.",
        "Serialise from ordered types, or sort keys; keep what the model said as it came.",
    ),
    Cause.WHITESPACE: Advice(
        "The same text but for blanks or line ends.",
        "Do not trim or re-format what was sent before; keep the arguments of tool calls as the model wrote them.",
    ),
    Cause.JSON_SPELLING: Advice(
        "The same JSON with other escapes, or other blanks between its tokens: the engine reads the same prompt, but the "
        "proxy, which knows prompts by their bytes, takes it for another.",
        "Use one serialiser with the same options for every call.",
    ),
    Cause.DROPPED_REASONING: Advice(
        "An assistant turn came back without the reasoning that it had been sent with.",
        "Send reasoning back in every turn, or in none from the start.",
    ),
    Cause.VOLATILE_TURN: Advice(
        "An old turn holds a time, an id or a number that is another one with each call, or is taken out of it later.",
        "Write such things once, when the turn is made, and keep them as they are.",
    ),
    Cause.EDITED_TURN: Advice(
        "An old turn was rewritten, or one was put in among old turns, and the turns behind it were kept.",
        "Append corrections as new turns.",
    ),
    Cause.EDITED_TOOL_RESULT: Advice(
        "The result of a tool was changed, shortened or cleared, and the turns behind it were kept.",
        "Shorten results before they are sent first; clear many at once and rarely.",
    ),
    Cause.TRUNCATED_HISTORY: Advice(
        "Old turns were left out or summarised, and the turns behind them were kept.",
        "Cut much and rarely: a window that slides with every call reuses nothing but the head.",
    ),
    Cause.TEMPLATE_DATE_OR_HEAD: Advice(
        "The bytes extend the prompt before, but the engine's tokens part in the head: its template writes a date or an id "
        "there.",
        "Give the template a constant date (`chat_template_kwargs`), or use one without.",
    ),
    Cause.TEMPLATE_DROPS_REASONING: Advice(
        "The bytes extend the prompt before, but the engine's tokens part at a turn with reasoning: its template drops it "
        "from old turns.",
        "Use a template that keeps reasoning (often an argument of it), or send none back.",
    ),
    Cause.TEMPLATE_REORDERS: Advice(
        "The bytes extend the prompt before, but the engine's tokens part within the turns: its template writes tools behind "
        "them, or renders old turns otherwise than new ones.",
        "Use a template that writes tools first, and every turn alike wherever it stands.",
    ),
    Cause.UNKNOWN: Advice(
        "The prompts part, and nothing known explains it.",
        "Look at the place with `turnwise lint --show`.",
    ),
}
