"""What can be chosen when an embedded engine is started."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from turnwise.engines.sim.cost import PRESETS, Preset
from turnwise.engines.sim.template import DAY_S, TEMPLATE_STYLES, Template, TemplateStyle

ToolPolicy = Literal["header", "once", "never"]
TOOL_POLICIES: tuple[str, ...] = get_args(ToolPolicy)
MAX_PORT = 65535
SHARES = ("drop_batches", "reorder_batches", "duplicate_batches", "nonsense_events", "reasoning_share")


class SimOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one embedded engine; None takes the preset's own figure. Ports of 0 take a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    model: str = "sim"
    loras: tuple[str, ...] = ()
    """Names of adapters served besides the model."""
    preset: str = "tiny"
    speed: float = 1.0
    """How many times faster than the preset; divides every duration."""
    seed: int = 0
    """Decides every generated answer, together with the prompt."""
    block_size: int | None = None
    num_blocks: int | None = None
    max_batch_tokens: int | None = None
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    publishes_events: bool = True
    events_port: int = 0
    replay_port: int = 0
    event_buffer: int = 10_000
    """Batches kept for replay; 0 is no replay at all."""
    drop_batches: float = 0.0
    """Share of event batches that no live subscriber gets; replay has them all. So for the next two."""
    reorder_batches: float = 0.0
    """Share of event batches that up to four later ones overtake."""
    duplicate_batches: float = 0.0
    """Share of event batches that come twice."""
    nonsense_events: float = 0.0
    """Share of event batches with an event that means nothing, in replay as well."""
    reports_cached_tokens: bool = True
    """Whether usage tells `cached_tokens`, as with vLLM's `--enable-prompt-tokens-details`."""
    hides_capacity: bool = False
    """Whether metrics keep silent on how much the cache holds."""
    offload_blocks: int = 0
    """Blocks of a CPU tier that takes what the GPU evicts; 0 is none."""
    offload_tokens_per_s: float | None = None
    """Tokens a second that come back from the CPU tier; None takes the preset's link."""
    drops_last_block: bool = False
    """Whether the last block of a hit is computed anew, as speculative decoding by EAGLE or MTP heads has it in vLLM."""
    template: TemplateStyle = "plain"
    """How the chat template renders: `Template` says what each style does."""
    template_day_s: float = DAY_S
    """Seconds after which the date in the `dated` style changes."""
    reasoning_share: float = 0.0
    """Share of chat answers that begin with reasoning."""
    tool_policy: ToolPolicy = "header"
    """When tools are called that the request offers and does not demand: as a header says and else by chance, once in each turn
    of the user, or never. The header wins over all of them."""
    wall_epoch_s: float = 0.0
    """Unix time at loop time 0; enters `created` and ids only."""

    def resolve(self) -> Preset:
        """The preset with the overrides applied; raises `ValueError` naming the option that cannot be."""
        if self.preset not in PRESETS:
            raise ValueError(f"unknown preset `{self.preset}`; there are: {', '.join(PRESETS)}")
        if self.tool_policy not in TOOL_POLICIES:
            raise ValueError(f"unknown tool_policy `{self.tool_policy}`; there are: {', '.join(TOOL_POLICIES)}")
        if self.speed <= 0:
            raise ValueError(f"speed must be above 0, not {self.speed}")
        for name in ("port", "events_port", "replay_port"):
            if not 0 <= getattr(self, name) <= MAX_PORT:
                raise ValueError(f"{name} must be from 0 to {MAX_PORT}, not {getattr(self, name)}")
        names = ("block_size", "num_blocks", "max_batch_tokens", "max_num_seqs", "max_model_len")
        chosen = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        for name, value in chosen.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self._check_rest()
        tier = {"offload_blocks": self.offload_blocks, "drops_last_block": self.drops_last_block}
        preset = msgspec.structs.replace(PRESETS[self.preset], **chosen, **tier)
        if self.offload_tokens_per_s is not None:
            cost = msgspec.structs.replace(preset.cost, load_token_s=1 / self.offload_tokens_per_s)
            preset = msgspec.structs.replace(preset, cost=cost)
        return msgspec.structs.replace(preset, max_model_len=min(preset.max_model_len, preset.capacity_tokens))

    @property
    def chat_template(self) -> Template:
        """The template as chosen."""
        return Template(self.template, self.template_day_s)

    def _check_rest(self) -> None:
        if self.template not in TEMPLATE_STYLES:
            raise ValueError(f"unknown template `{self.template}`; there are: {', '.join(TEMPLATE_STYLES)}")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for name in ("event_buffer", "offload_blocks"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name in ("template_day_s", "offload_tokens_per_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
