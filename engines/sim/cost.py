"""What one engine step costs in seconds, and named engines to be.

The presets are round figures of our own, from roofline arithmetic over public data sheets, not measurements: two FLOPs per
weight and token, four per layer, model dimension and attended pair, at about 40% of the peak; one read of all weights a step,
and one of a sequence's KV a decoded token, at full memory bandwidth; blocks are what fits beside the weights in 90% of the
memory; KV comes back from host memory at 80% of a PCIe link's bandwidth. `tiny` is nobody: small and
quick, for tests and demonstrations.
"""

from __future__ import annotations

import msgspec


class CostModel(msgspec.Struct, frozen=True):
    """Seconds per unit of work; a step's time is the sum over what is in it."""

    step_s: float
    """Fixed time of any step: launch, and one read of the weights."""
    prefill_token_s: float
    """Each prompt token computed."""
    attended_pair_s: float
    """Each pair of a prefilled token and a token before it; makes long prompts cost quadratically."""
    decode_sequence_s: float
    """Each sequence that decodes one token."""
    decode_context_s: float
    """Each token of context that a decoding sequence reads."""
    load_token_s: float
    """Each token whose KV is copied back from the CPU tier."""

    def prefill_s(self, num_tokens: int, context: int) -> float:
        """Seconds for a chunk of `num_tokens` prompt tokens behind `context` tokens that are there already."""
        pairs = num_tokens * context + num_tokens * num_tokens / 2
        return num_tokens * self.prefill_token_s + pairs * self.attended_pair_s

    def decode_s(self, context: int) -> float:
        """Seconds that one decoding sequence with `context` tokens adds to a step."""
        return self.decode_sequence_s + context * self.decode_context_s


class Preset(msgspec.Struct, frozen=True):
    """A whole engine: its costs and its limits, in tokens, blocks and sequences as named."""

    cost: CostModel
    block_size: int
    num_blocks: int
    max_batch_tokens: int
    max_num_seqs: int
    max_model_len: int
    offload_blocks: int = 0
    """Blocks of the CPU tier; 0 is none."""
    drops_last_block: bool = False
    """Whether the last block that a prompt finds in the GPU is computed anew."""

    @property
    def capacity_tokens(self) -> int:
        """Tokens whose KV fits at once."""
        return self.num_blocks * self.block_size


PRESETS: dict[str, Preset] = {
    "h100-8b": Preset(
        cost=CostModel(5e-3, 40e-6, 1.3e-9, 30e-6, 40e-9, 2.6e-6),
        block_size=16,
        num_blocks=25_000,
        max_batch_tokens=8192,
        max_num_seqs=256,
        max_model_len=131_072,
    ),
    "h100-70b-tp4": Preset(
        cost=CostModel(12e-3, 90e-6, 1.6e-9, 60e-6, 25e-9, 1.6e-6),
        block_size=16,
        num_blocks=25_000,
        max_batch_tokens=8192,
        max_num_seqs=256,
        max_model_len=131_072,
    ),
    "l4-8b": Preset(
        cost=CostModel(55e-3, 270e-6, 9e-9, 200e-6, 440e-9, 5.2e-6),
        block_size=16,
        num_blocks=2_500,
        max_batch_tokens=2048,
        max_num_seqs=64,
        max_model_len=32_768,
    ),
    "tiny": Preset(
        cost=CostModel(1e-3, 20e-6, 1e-9, 10e-6, 10e-9, 2e-6),
        block_size=16,
        num_blocks=1_024,
        max_batch_tokens=2048,
        max_num_seqs=16,
        max_model_len=8_192,
    ),
}
