"""The rows of `make bench-knowledge`: that each measures what it says, and that the paper says what was measured."""

from bench.knowledge import feeding, knowing, relaying, report
from bench.knowledge.row import Row, at_least, at_most

from turnwise.engines.vllm.wire import decode_batch
from turnwise.index import DomainKey, KvIndex
from turnwise.settings import IndexSettings

ROW = Row(
    "a", "a title", "at most 2 x", "3.00", holds=False, figures={"cost us": 1234.5, "share": 0.123456}, how="It was tried."
)


def result(*rows):
    return report.Result(commit="c", machine="m", python="p", seed=1, load_average=0.5, rows=list(rows))


def test_a_bar_holds_up_to_its_bound():
    assert [at_most("n", "t", ratio, 1.5, "x", {}, "").holds for ratio in (1.4, 1.5, 1.6)] == [True, True, False]
    assert [at_least("n", "t", ratio, 1.5, "x", {}, "").holds for ratio in (1.4, 1.5, 1.6)] == [False, True, True]


def test_a_bar_that_does_not_hold_is_said_to_fail():
    text = report.markdown(result(ROW))
    assert "| a title | at most 2 x | 3.00 | **fails** |" in text
    assert "**A title.** It was tried. Cost us 1,234, share 0.123." in text


def test_the_measured_turn_is_600_kb_and_extends_the_one_before_by_8():
    before, body, _ = next(knowing.conversations(1))
    shared = before.rindex(b"]")
    assert body.startswith(before[:shared])
    assert 590_000 < len(body) < 620_000
    assert 8_000 <= len(body) - len(before) < 14_000


def test_knowing_is_measured_on_calls_that_are_predicted_and_taught():
    before, body, _ = next(knowing.conversations(1))
    fleet = knowing.Fleet()
    fleet.call(before, 0, 0.0)
    assert set(fleet.call(body, 0, 1.0)) == set(knowing.PARTS)
    assert fleet.index.stats().num_taught == 2
    assert max(hit.tokens for hit in fleet.index.residency(fleet.read(body).chain, fleet.replicas, 2.0).hits.values()) > 140_000


def test_what_is_fed_is_what_vllm_publishes_and_both_sides_read_it_alike():
    payload = feeding.payloads(1)[1]
    ours = decode_batch(payload, 1).events[0]
    (theirs,) = feeding.msgspec.msgpack.decode(payload, type=feeding.Batch).events
    assert len(theirs.token_ids) == feeding.EVENT_BLOCKS * feeding.BLOCK_TOKENS
    assert [block & ((1 << 60) - 1) for block in theirs.block_hashes] == list(ours.hashes)
    assert (ours.call_id, ours.parent is None) == (theirs.session_id, theirs.parent_block_hash is None)


def test_blocks_that_flow_beside_streams_are_new_whenever_they_come_and_evict_others():
    index = KvIndex(IndexSettings())
    index.add_replica("r0", DomainKey("m", 16, "sha256"), num_blocks=relaying.CACHE_BLOCKS, has_events=True)
    batches = [decode_batch(payload, number) for number, payload in enumerate(feeding.payloads(1))]
    for batch in batches + batches:
        index.apply("r0", batch, 0.0)
    stats = index.stats()
    replica = stats.replicas["r0"]
    assert replica.num_copies == 0
    assert replica.num_blocks + stats.num_evicted_blocks == 2 * len(batches) * feeding.EVENT_BLOCKS


def test_what_is_sampled_while_events_flow_is_held_against_the_quiet_before_and_behind_it():
    quiet = [1.0, 4.0, 9.0, 4.0, 1.0]
    assert relaying.beside([2.0, 3.0], quiet) == [1.0, 0.5]
    assert relaying.beside([3.0, 2.0], quiet[1:]) == [0.5, 1.0]
