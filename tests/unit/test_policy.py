import math

import msgspec
import pytest

from turnwise.index import prompt_chain
from turnwise.proxy.policy.calibrate import decayed, learned_rate
from turnwise.proxy.policy.place import POLICIES, place
from turnwise.proxy.policy.retry import Attempt
from turnwise.proxy.policy.score import score
from turnwise.settings import PolicySettings
from turnwise.types import (
    CallId,
    DialectName,
    FleetView,
    Hit,
    HitSource,
    MediaSpeeds,
    Prompt,
    ReplicaId,
    ReplicaView,
    Request,
    SegmentKind,
)

SETTINGS = PolicySettings(miss_weight=3.0, queue_weight=1.0, recent_weight=0.2)


def replica(name: str, hit: int = 0, **changes) -> ReplicaView:
    view = ReplicaView(
        id=ReplicaId(name),
        hit=Hit(hit, HitSource.CONFIRMED if hit else HitSource.NONE),
        num_running=0,
        pending_prefill_tokens=0.0,
        recent_assigned_s=0.0,
        prefill_tokens_per_s=1000.0,
        decode_s_per_call=0.01,
        media=MediaSpeeds(SETTINGS.dram_tokens_per_s, SETTINGS.disk_tokens_per_s),
    )
    return msgspec.structs.replace(view, **changes)


def fleet(*replicas: ReplicaView, prompt_tokens: int = 1000, turn: int = 0) -> FleetView:
    return FleetView(replicas=replicas, prompt_tokens=prompt_tokens, is_taught=True, turn=turn)


def request(session: str | None = None) -> Request:
    return Request(
        call_id=CallId("c"),
        request_id="r",
        dialect=DialectName.CHAT,
        method="POST",
        target="/v1/chat/completions",
        headers=(),
        body=b"",
        arrived_at=0.0,
        read_at=0.0,
        session=session,
    )


def chosen(view: FleetView, name: str = "kv_aware", session: str | None = None) -> str:
    return place(request(session), view, msgspec.structs.replace(SETTINGS, name=name)).replica


def test_the_cost_is_the_sum_of_its_terms_in_seconds():
    busy = replica("a", hit=400, num_running=5, pending_prefill_tokens=2000.0, recent_assigned_s=1.0, free_tokens=500.0)
    terms = score(busy, 1000, SETTINGS)
    assert terms.queue_s == pytest.approx(2.0 + 0.05)
    assert terms.prefill_s == pytest.approx(3.0 * 0.6)
    assert terms.eviction_s == pytest.approx(0.1)
    assert terms.recent_s == pytest.approx(0.2)
    assert terms.total_s == pytest.approx(2.05 + 1.8 + 0.1 + 0.2)


def test_what_is_brought_up_from_slower_media_costs_its_transfer_and_takes_room():
    hit = Hit(900, HitSource.CONFIRMED, dram_tokens=400, disk_tokens=200)
    holder = replica("a", free_tokens=650.0, media=MediaSpeeds(4000.0, 1000.0))
    terms = score(holder, 1000, SETTINGS)
    below = score(msgspec.structs.replace(holder, hit=hit), 1000, SETTINGS)
    assert terms.transfer_s == 0.0
    assert below.transfer_s == pytest.approx(0.1 + 0.2)
    assert below.prefill_s == pytest.approx(3.0 * 0.1)
    assert below.eviction_s == pytest.approx(0.05)
    assert below.total_s == pytest.approx(0.3 + 0.3 + 0.05)


def test_blocks_in_the_gpu_win_over_blocks_in_dram_and_these_over_computing_them():
    dram = msgspec.structs.replace(replica("dram"), hit=Hit(900, HitSource.CONFIRMED, dram_tokens=900))
    disk = msgspec.structs.replace(replica("disk"), hit=Hit(900, HitSource.CONFIRMED, disk_tokens=900))
    placement = place(request(), fleet(replica("none"), disk, dram, replica("gpu", hit=900)), SETTINGS)
    assert [name for name, _ in placement.costs_s] == ["gpu", "dram", "disk", "none"]


def test_a_holder_of_the_prompt_wins_over_an_idle_stranger():
    assert chosen(fleet(replica("idle"), replica("holder", hit=900, num_running=3))) == "holder"


def test_a_long_queue_outweighs_a_hit():
    assert chosen(fleet(replica("idle"), replica("holder", hit=900, pending_prefill_tokens=20_000.0))) == "idle"


def crowded(hit: int, turnover_s: float = 1.0, **changes) -> ReplicaView:
    """A replica whose cache turned over within the last `turnover_s`, of a view that is frozen at 100 s."""
    return replica(f"every {turnover_s:g} s", hit=hit, refilled_since=100.0 - turnover_s, **changes)


def evicting(*replicas: ReplicaView, computed_tokens: int = 900) -> FleetView:
    return msgspec.structs.replace(fleet(*replicas), computed_tokens=computed_tokens, now=100.0)


def test_what_was_lost_to_crowding_moves_a_conversation_to_a_replica_that_has_room():
    settings = msgspec.structs.replace(SETTINGS, turns_ahead=4.0)
    view = evicting(crowded(500), replica("empty"))
    nothing_lost, little_lost = (msgspec.structs.replace(view, computed_tokens=tokens) for tokens in (500, 700))
    assert place(request(), view, settings).replica == "empty"
    assert place(request(), nothing_lost, settings).replica == "every 1 s"
    assert place(request(), little_lost, settings).replica == "every 1 s"  # to move costs more
    assert place(request(), view, msgspec.structs.replace(SETTINGS, turns_ahead=0.0)).replica == "every 1 s"


def test_no_conversation_moves_where_blocks_live_hardly_longer():
    settings = msgspec.structs.replace(SETTINGS, turns_ahead=10.0)
    for turnover_s in (0.5, 1.0, 2.0):
        terms = place(request(), evicting(crowded(500), crowded(0, turnover_s)), settings).terms
        assert terms.prefill_s == pytest.approx(1.5)  # it stays
        assert terms.eviction_s == pytest.approx(10 * 0.4)
    assert place(request(), evicting(crowded(500), crowded(0, 1000.0)), settings).replica == "every 1000 s"


def test_what_is_gone_everywhere_or_was_lost_without_crowding_favours_nobody():
    lost_everywhere = evicting(crowded(0), replica("empty"))
    lost_by_a_reset = evicting(replica("reset", hit=100), crowded(0))
    for view in (lost_everywhere, lost_by_a_reset):
        settings = msgspec.structs.replace(SETTINGS, turns_ahead=10.0)
        assert place(request(), view, settings).terms.eviction_s == 0.0


def test_of_equal_holders_the_one_that_turns_over_less_is_chosen():
    assert chosen(evicting(crowded(500), crowded(500, 50.0))) == "every 50 s"


def test_equal_costs_take_turns():
    replicas = [replica("a"), replica("b"), replica("c")]
    assert [chosen(fleet(*replicas, turn=turn)) for turn in range(4)] == ["a", "b", "c", "a"]


def test_paced_calls_without_running_load_spread_by_what_was_assigned_lately():
    shared = {"hit": 500}
    view = fleet(replica("a", **shared, recent_assigned_s=20.0), replica("b"))
    assert chosen(view) == "b"


def test_a_placement_names_every_cost_cheapest_first():
    view = fleet(replica("a"), replica("b", hit=500), replica("c", hit=200))
    placement = place(request(), view, SETTINGS)
    assert [name for name, _ in placement.costs_s] == ["b", "c", "a"]
    assert placement.terms.total_s == placement.costs_s[0][1]
    assert placement.reason == "lowest_cost"
    assert placement.uncached_tokens == 500


def test_a_slower_replica_pays_more_for_the_same_miss():
    assert chosen(fleet(replica("slow", prefill_tokens_per_s=500.0), replica("fast"))) == "fast"


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_policy_takes_the_only_one_and_says_so(name):
    placement = place(request("s"), fleet(replica("a")), msgspec.structs.replace(SETTINGS, name=name))
    assert (placement.replica, placement.reason, placement.policy) == ("a", "only_one", name)


def test_round_robin_ignores_hits():
    view = [replica("a", hit=999), replica("b")]
    assert [chosen(fleet(*view, turn=turn), "round_robin") for turn in range(3)] == ["a", "b", "a"]


def test_least_request_counts_running_calls():
    assert chosen(fleet(replica("a", num_running=2, hit=999), replica("b", num_running=1)), "least_request") == "b"


def test_session_hash_keeps_a_session_and_moves_only_those_of_a_replica_that_left():
    replicas = [replica(name) for name in "abcd"]
    before = {session: chosen(fleet(*replicas), "session_hash", session) for session in map(str, range(200))}
    after = {session: chosen(fleet(*replicas[1:]), "session_hash", session) for session in map(str, range(200))}
    assert set(before.values()) == set("abcd")
    assert all(after[session] == owner for session, owner in before.items() if owner != "a")


def prompting(*turns: tuple[SegmentKind, bytes]) -> Request:
    prompt = Prompt(b"m", tuple(kind for kind, _ in turns), tuple(raw for _, raw in turns))
    return msgspec.structs.replace(request(), prompt=prompt, chain=prompt_chain(prompt))


def test_session_hash_knows_a_session_without_a_name_by_its_prompt_up_to_its_first_user_turn():
    view, settings = fleet(*map(replica, map(str, range(50)))), msgspec.structs.replace(SETTINGS, name="session_hash")
    head, go, on = (SegmentKind.SYSTEM, b"s"), (SegmentKind.USER, b"go"), (SegmentKind.ASSISTANT, b"a")
    first, later = (place(prompting(*turns), view, settings) for turns in ((head, go), (head, go, on, go)))
    assert (first.replica, first.reason) == (later.replica, "session")
    others = {place(prompting(head, (SegmentKind.USER, b"%d" % other)), view, settings).replica for other in range(20)}
    assert len(others) > 1
    assert place(prompting(head, on), view, settings).reason == "no_session"


def test_session_hash_without_a_session_goes_by_load():
    assert chosen(fleet(replica("a", num_running=1), replica("b")), "session_hash") == "b"


def test_prefix_follows_the_longest_match_above_its_threshold():
    assert chosen(fleet(replica("a"), replica("b", hit=600, num_running=5)), "prefix") == "b"
    assert chosen(fleet(replica("a"), replica("b", hit=400, num_running=5)), "prefix") == "a"


def test_prefix_goes_by_load_when_the_fleet_is_out_of_balance():
    view = fleet(replica("a"), replica("b", hit=900, num_running=40))
    placement = place(request(), view, msgspec.structs.replace(SETTINGS, name="prefix"))
    assert (placement.replica, placement.reason) == ("a", "out_of_balance")


def test_the_rate_moves_toward_what_was_seen_and_no_sample_turns_it_over():
    assert 1000 < learned_rate(1000.0, work_tokens=2000, first_token_s=1.0) < 2000
    assert learned_rate(1000.0, work_tokens=10**9, first_token_s=0.001) <= 1000 * 1.6
    assert learned_rate(1000.0, work_tokens=300, first_token_s=1e9) > 0


@pytest.mark.parametrize(("tokens", "seconds"), [(10, 1.0), (5000, 0.0)])
def test_samples_that_say_nothing_teach_nothing(tokens, seconds):
    assert learned_rate(1000.0, work_tokens=tokens, first_token_s=seconds) is None


def test_assigned_seconds_halve_in_a_half_life():
    assert decayed(8.0, 30.0, 10.0) == pytest.approx(1.0)
    assert math.isclose(decayed(8.0, 0.0, 10.0), 8.0)


def test_each_attempt_knows_who_has_failed():
    attempt = Attempt.first(3)
    seen = [(attempt.number, set(attempt.failed), attempt.is_last)]
    while not attempt.is_last:
        attempt = attempt.after(ReplicaId(f"r{attempt.number}"))
        seen.append((attempt.number, set(attempt.failed), attempt.is_last))
    assert seen == [(1, set(), False), (2, {"r1"}, False), (3, {"r1", "r2"}, True)]
