"""What placement is worth on real vLLM, and whether the engine's events teach what they should.

Shares of cached tokens do not depend on how busy the machine is, so these tests assert on them and on no duration.
"""

import re
import secrets
import sys
from statistics import fmean

import pytest
from tests.vllm.conversations import cached_fraction, hold_conversations, round_robin, session_affinity
from tests.vllm.sidecar import serving

pytestmark = pytest.mark.vllm

HIT = re.compile(r"hit_tokens=(?P<tokens>\d+) hit_source=(?P<source>\w+)")


async def through_proxy(fleet, folder, policy, feed):
    log = folder / f"{policy}.log"
    with serving(fleet.urls, "--policy", policy, "--set", "edits.debug_header=true", log=log, feed=feed) as sidecar:
        return await hold_conversations(lambda _session, _turn: sidecar.url, salt=secrets.token_hex(8), model=fleet.model)


async def straight(fleet, choose):
    return await hold_conversations(choose(fleet.urls), salt=secrets.token_hex(8), model=fleet.model)


async def test_placement_by_kv_comes_close_to_perfect_affinity_and_round_robin_does_not(vllm_fleet, tmp_path, capsys):
    affinity = await straight(vllm_fleet, session_affinity)
    kv_aware = await through_proxy(vllm_fleet, tmp_path, "kv_aware", feed="live")
    in_turn = await through_proxy(vllm_fleet, tmp_path, "round_robin", feed="none")

    later = [(turn, HIT.search(turn.headers["x-turnwise-placement"])) for turn in kv_aware if turn.turn > 0]
    taught = [(turn, hit) for turn, hit in later if hit["source"] == "confirmed"]
    near = [turn for turn, hit in taught if abs(int(hit["tokens"]) - turn.cached_tokens) <= vllm_fleet.block_size]
    lines = [
        f"  {name:12} cached {cached_fraction(turns):.3f}  mean TTFT {fmean(turn.ttft_s for turn in turns):.3f} s"
        for name, turns in (("affinity", affinity), ("kv_aware", kv_aware), ("round_robin", in_turn))
    ]
    lines.append(f"  taught {len(taught)} of {len(later)} later turns; predicted within one block {len(near)} of {len(taught)}")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")

    assert cached_fraction(kv_aware) >= 0.9 * cached_fraction(affinity)
    assert cached_fraction(in_turn) < 0.60
    assert len(taught) >= 0.90 * len(later)
    assert len(near) >= 0.95 * len(taught)


async def test_prompts_of_the_lab_have_the_lengths_that_the_bars_speak_of(vllm_fleet):
    turns = await straight(vllm_fleet, round_robin)
    lengths = {number: [turn.prompt_tokens for turn in turns if turn.turn == number] for number in range(5)}
    for number, wanted in enumerate((1200, 1450, 1700, 1950, 2200)):
        assert max(abs(length - wanted) for length in lengths[number]) <= 0.01 * wanted
