"""`/v1/chat/completions`: messages and tools to a prompt."""

from __future__ import annotations

from turnwise.dialects import arguments, markers, plain, turns
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.openai import OpenAIGeneration
from turnwise.dialects.prompt import Arguments, Parts
from turnwise.types import DialectName, Headers, Prompt, SegmentKind

TEMPLATE_ARGUMENTS = Arguments(
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "documents",
    "reasoning_effort",
    "verbosity",
    "response_format",
    "tool_choice",
    "truncate_prompt_tokens",
    "truncation_side",
    defaults=(("tool_choice", b'"auto"'),),
)
"""What engines hand to the template or to what tokenizes its text, in a fixed order.

`tool_choice` counts since "none" can take the tools out and a named one can pick among them; `response_format` since vLLM
hands it to the renderers of Kimi K3 and Cohere, which write it into the prompt. `parallel_tool_calls` does not: it sorts the
output.
"""

_TOOLS = ("tools", "functions")
HASHED = frozenset(("model", *arguments.ROOT.names, *TEMPLATE_ARGUMENTS.names, *_TOOLS, "messages"))
"""Members that are part of the prompt's digests."""

_KNOWN = HASHED | arguments.NOT_RENDERED
_MESSAGES = turns.TurnList("messages", "messages")


class ChatDialect(OpenAIGeneration):
    """Chat completions.

    Tools stand before messages in the prompt, wherever the template puts them: prompts with other tools share no prefix in
    the digests, which at worst misses one.
    """

    name = DialectName.CHAT

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read a chat request.

        Checked is what routing acts on: JSON, `model`, `messages` (objects with a role), `stream`, `n` and the token limits.
        Everything else is left to the engine, whose words about it are better. Raises `ClientFault` naming the field.
        """
        call = plain.read(body)
        return self.read_in_full(body, splice_usage=splice_usage) if call is None else _plain_call(body, call)

    def read_in_full(self, body: bytes, *, splice_usage: bool) -> ReadCall:
        """Read a chat request of any shape."""
        document = _MESSAGES.open(body)
        model = arguments.model(document)
        is_stream = arguments.flag(document, "stream") is True
        to_forward = self.with_usage(document) if splice_usage and is_stream else body
        num_choices = arguments.num_choices(document)
        max_tokens = arguments.count(document, "max_tokens")
        limit = arguments.count(document, "max_completion_tokens")
        return ReadCall(
            to_forward,
            model,
            _prompt(model, document),
            is_stream=is_stream,
            adds_usage=to_forward is not body,
            num_choices=num_choices,
            max_tokens=max_tokens if limit is None else limit,
            unhashed_bytes=arguments.unhashed_bytes(document, _KNOWN),
        )


def _plain_call(body: bytes, call: plain.Plain) -> ReadCall:
    root = arguments.ROOT.root_of(call.model)
    prompt = Prompt(root, tuple(turns.kinds(call.messages)), tuple(call.messages))
    return ReadCall(body, call.model, prompt, max_tokens=call.max_tokens)


def _prompt(model: str, document: Body) -> Prompt:
    parts = Parts()
    marks = markers.find(document.document)
    template = TEMPLATE_ARGUMENTS.template(document)
    if template:
        parts.add(SegmentKind.TEMPLATE, template)
    for name in _TOOLS:
        parts.add_unmarked(SegmentKind.TOOLS, document.raw(name), marks)
    messages = _MESSAGES.read(document)
    parts.add_turns(turns.kinds(messages, document), turns.unmarked(document, messages, marks))
    return parts.prompt(arguments.ROOT.root(model, document))
