"""Arguments that every generating API has, read and checked alike; and which of all arguments leave the prompt alone."""

from __future__ import annotations

import msgspec

from turnwise.dialects.body import Body
from turnwise.dialects.prompt import Arguments

_TEXT = msgspec.json.Decoder(str)
_FLAG = msgspec.json.Decoder(bool)
_COUNT = msgspec.json.Decoder(int)

ROOT = Arguments("cache_salt", "mm_processor_kwargs", "media_io_kwargs")
"""What isolates prompts besides the model, whose name also stands for its LoRA: the salt, and how images and sound are read."""

_SAMPLING = (
    "allowed_token_ids", "bad_words", "best_of", "early_stopping", "frequency_penalty", "ignore_eos", "length_penalty",
    "logit_bias", "logits_processors", "max_completion_tokens", "max_tokens", "min_p", "min_tokens", "n", "presence_penalty",
    "repetition_detection", "repetition_penalty", "seed", "stop", "stop_token_ids", "temperature", "thinking_token_budget",
    "top_k", "top_p", "use_beam_search", "watermarking",
)  # fmt: skip
_OUTPUT = (
    "audio", "echo", "guided_choice", "guided_decoding_backend", "guided_grammar", "guided_json", "guided_regex",
    "guided_whitespace_pattern", "include_reasoning", "include_stop_str_in_output", "logprob_token_ids", "logprobs",
    "mm_payload", "modalities", "parallel_tool_calls", "prediction", "prompt_logprobs", "return_mm_kwargs",
    "return_prompt_text", "return_token_ids", "return_token_offsets", "return_tokens_as_token_ids",
    "routed_experts_prompt_start", "skip_special_tokens", "spaces_between_special_tokens", "stream", "stream_interval",
    "stream_options", "structured_outputs", "top_logprobs",
)  # fmt: skip
_BOOKKEEPING = (
    "cache_control", "ec_transfer_params", "kv_transfer_params", "metadata", "priority", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "request_id", "safety_identifier", "service_tier", "session_id", "store",
    "user", "vllm_xargs",
)  # fmt: skip
NOT_RENDERED = frozenset((*_SAMPLING, *_OUTPUT, *_BOOKKEEPING))
"""Arguments of any API that never reach the text of a prompt: how tokens are drawn, what the answer shows, who calls."""


def model(body: Body) -> str:
    """The model that is asked for; raises `ClientFault` where there is none."""
    name = body.typed("model", _TEXT, "a non-empty string")
    if not name:
        raise body.fault("model", "is missing" if name is None else "must be a non-empty string")
    return name


def flag(body: Body, name: str) -> bool | None:
    """A boolean argument; None where it is not given. Raises `ClientFault` for another type."""
    return body.typed(name, _FLAG, "true, false or null") if name in body.values else None


def count(body: Body, name: str) -> int | None:
    """An integer argument; None where it is not given. Raises `ClientFault` for another type."""
    return body.typed(name, _COUNT, "an integer or null") if name in body.values else None


def num_choices(body: Body) -> int:
    """How many answers are asked for, at least one; raises `ClientFault` where that is no integer."""
    return max(1, count(body, "n") or 1)


def unhashed_bytes(body: Body, known: frozenset[str]) -> int:
    """Bytes of the members that are not `known`: neither hashed nor among those that leave the prompt alone.

    An engine may render what is not known here, so each byte of it is one on which a digest could wrongly agree.
    """
    if known.issuperset(body.values):
        return 0
    return sum(len(body.raw(name) or b"") for name in body.values if name not in known)
