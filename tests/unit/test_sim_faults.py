import json
from array import array
from random import Random

import msgspec
import pytest

from turnwise.engines.sim.blocks import BlockOwner, Cleared, Stored
from turnwise.engines.sim.faults import MAX_BEHIND, NONSENSE, Liar, LossyLine
from turnwise.engines.sim.publisher import EventLog

NUM_ITEMS = 2000


def line(seed=0, **shares):
    return LossyLine(**{"drop": 0.0, "reorder": 0.0, "duplicate": 0.0, "seed": seed, **shares})


def sent(over, num_items=NUM_ITEMS):
    return [out for item in range(num_items) for out in over.send(item)]


def test_a_line_without_faults_passes_everything_on():
    assert sent(line()) == list(range(NUM_ITEMS))


def test_a_share_is_dropped():
    heard = sent(line(drop=0.1))
    assert heard == sorted(set(heard))
    assert 0.85 * NUM_ITEMS < len(heard) < 0.95 * NUM_ITEMS


def test_a_share_comes_twice():
    heard = sent(line(duplicate=0.1))
    assert set(heard) == set(range(NUM_ITEMS))
    assert 1.05 * NUM_ITEMS < len(heard) < 1.15 * NUM_ITEMS


def test_a_delayed_item_comes_after_some_later_ones_and_once():
    heard = sent(line(reorder=0.1))
    behind = [max(heard[:place], default=item) - item for place, item in enumerate(heard)]
    assert len(heard) == len(set(heard)) > NUM_ITEMS - MAX_BEHIND
    assert 0.05 * NUM_ITEMS < sum(delay > 0 for delay in behind) < 0.15 * NUM_ITEMS
    assert max(behind) <= MAX_BEHIND


def test_what_was_delayed_is_lost_with_the_line():
    over = line(reorder=1.0)
    over.send(1)
    over.cut()
    assert not {out for item in range(10, 30) for out in over.send(item)} & {1}


@pytest.mark.parametrize("seed", range(3))
def test_one_seed_gives_one_history_of_faults(seed):
    shares = {"drop": 0.2, "reorder": 0.2, "duplicate": 0.2}
    assert sent(line(seed, **shares)) == sent(line(seed, **shares))
    assert sent(line(seed, **shares)) != sent(line(seed + 1, **shares))


def test_what_a_lossy_line_drops_is_kept_for_replay():
    log = EventLog(16, (), 100, line=line(drop=1.0))
    heard = []
    log.subscribe(heard.append)
    log.publish([Cleared()], 0.0)
    assert (heard, [published.sequence for published in log.since(0)]) == ([], [0])


def test_a_batch_with_nonsense_in_it_has_all_its_events_in_order():
    events = [{"type": "AllBlocksCleared"}, {"type": "BlockRemoved", "block_hashes": [1], "medium": "GPU"}]
    liar = Liar(1.0, seed=1)
    for _ in range(100):
        spoiled = liar.spoil(events)
        assert len(spoiled) == 3
        assert [event for event in spoiled if event in events] == events


def test_every_kind_of_nonsense_can_be_published():
    for make in NONSENSE:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(make(Random(0)))) == json.loads(json.dumps(make(Random(0))))


def test_a_restarted_log_tells_its_subscribers_and_counts_from_0():
    log = EventLog(4, (), 10)
    heard = []
    log.subscribe(heard.append)
    stored = Stored((1,), None, 0, array("I", range(4)), BlockOwner("m"))
    log.publish([stored], 0.0)
    log.restart()
    log.publish([stored], 0.0)
    assert [None if published is None else published.sequence for published in heard] == [0, None, 0]
    assert len(log.kept) == 1
