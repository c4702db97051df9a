"""The flags of `turnwise sim`: one for each option of the engine."""

from __future__ import annotations

import argparse

from turnwise.engines.sim.cost import PRESETS
from turnwise.engines.sim.options import TOOL_POLICIES
from turnwise.engines.sim.template import TEMPLATE_STYLES
from turnwise.engines.sim.tool_choice import HEADER_TOOL_CALLS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each option of the engine, and a word on what requests may ask of it."""
    parser.epilog = (
        f"A request with tools may carry the header {HEADER_TOOL_CALLS}: N to have N tools called, or the names of those to "
        "call, between commas; without it, tool_choice decides, and else --tool-policy."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes a free one (%(default)s)")
    parser.add_argument("--model", default="sim", help="model name to serve (%(default)s)")
    parser.add_argument("--lora", dest="loras", action="append", default=[], help="adapter name to serve; may be repeated")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny", help="engine to be (%(default)s)")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster than the preset (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="decides the answers, together with the prompt, and the faults (%(default)s)"
    )
    for name in ("block_size", "num_blocks", "max_batch_tokens", "max_num_seqs", "max_model_len"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help="instead of the preset's")
    parser.add_argument(
        "--no-cached-tokens", dest="reports_cached_tokens", action="store_false", help="leave cached_tokens out of usage"
    )
    parser.add_argument(
        "--hide-capacity", dest="hides_capacity", action="store_true", help="tell nowhere how much the cache holds"
    )
    parser.add_argument(
        "--drop-last-block",
        dest="drops_last_block",
        action="store_true",
        help="compute the last block of each hit anew, as engines do that decode speculatively by EAGLE or MTP heads",
    )
    _add_answers(parser)
    _add_tier(parser)
    _add_events(parser)


def _add_answers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("prompts and answers")
    group.add_argument(
        "--tool-policy",
        choices=TOOL_POLICIES,
        default="header",
        help="tools that a request offers: by its header, else by chance; the first one once a turn; or never (%(default)s)",
    )
    group.add_argument(
        "--reasoning", dest="reasoning_share", type=float, default=0.0, help="share of answers that begin with reasoning"
    )
    group.add_argument(
        "--template",
        choices=TEMPLATE_STYLES,
        default="plain",
        help="how the chat template renders: plainly; without old reasoning; with the date first in the system turn; with "
        "tools in a turn of their own after or before the system's, or before the user's last; or with old turns stripped of "
        "space (%(default)s)",
    )
    group.add_argument(
        "--template-day", dest="template_day_s", type=float, default=86_400.0, help="seconds that a dated template's day lasts"
    )


def _add_tier(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("CPU tier")
    group.add_argument("--offload-blocks", type=int, default=0, help="blocks that it holds of what the GPU evicts; 0 is none")
    group.add_argument(
        "--offload-tokens-per-s", type=float, help="tokens a second that come back from it, instead of the preset's"
    )


def _add_events(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("KV events")
    group.add_argument("--no-events", dest="publishes_events", action="store_false", help="publish none")
    group.add_argument("--events-port", type=int, default=0, help="port to publish on; 0 takes a free one")
    group.add_argument("--replay-port", type=int, default=0, help="port of replay; 0 takes a free one")
    group.add_argument("--event-buffer", type=int, default=10_000, help="batches kept for replay (%(default)s)")
    group.add_argument("--drop-batches", type=float, default=0.0, help="share of batches lost on the way; replay has them")
    group.add_argument("--reorder-batches", type=float, default=0.0, help="share of batches that later ones overtake")
    group.add_argument("--duplicate-batches", type=float, default=0.0, help="share of batches that come twice")
    group.add_argument("--nonsense-events", type=float, default=0.0, help="share of batches with an event that means nothing")
