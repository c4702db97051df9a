"""Replicas without events whose caches hold less than the calls under way: what these evict is never taken for a restart."""

from bench.knowledge.hidden import Shape, measure
from hypothesis import Phase, given, settings
from hypothesis import strategies as st


@st.composite
def crowded(draw):
    """Calls that go to replicas in turn, each of which has more at once than it has room for; none is too long for it."""
    replicas = draw(st.integers(1, 2))
    num_blocks = draw(st.integers(72, 120))
    return Shape(
        conversations=8 * replicas,
        at_once=draw(st.integers(4, 5)) * replicas,
        calls=100 * replicas,
        restart_at=None,
        system_tokens=draw(st.sampled_from([0, 30, 100])),
        turns=(2, 7),
        message_tokens=(10, 100),
        answer_tokens=(5, 60),
        num_blocks=num_blocks,
        stated_blocks=draw(st.sampled_from([None, num_blocks])),
        replicas=replicas,
        policy="round_robin",
    )


# A shape takes a second, so none is made smaller.
@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
@given(crowded(), st.integers(1, 1000))
def test_a_replica_that_evicts_all_that_is_not_in_use_has_not_restarted(shape, seed):
    replicas = measure(shape, seed).replicas.values()
    assert [stats.num_silent_restarts for stats in replicas] == [0] * shape.replicas
