"""Calls that wait for an engine, against a naive list of them."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from turnwise.index.waiting import Waiting

NAMES = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), NAMES, st.integers(0, 1000)),
        st.tuples(st.just("leave"), NAMES),
        st.tuples(st.just("expire"), st.integers(0, 40)),
    ),
    max_size=40,
)


@given(STEPS)
def test_what_waits_is_what_was_added_and_has_neither_left_nor_expired(steps):
    waiting, naive = Waiting(), []
    for now, step in enumerate(steps):
        if step[0] == "add":
            _, name, tokens = step
            waiting.add(name, tokens, now)
            naive = [*(call for call in naive if call[0] != name), (name, tokens, now)]
        elif step[0] == "leave":
            waiting.leave(step[1])
            naive = [call for call in naive if call[0] != step[1]]
        else:
            waiting.expire(step[1])
            naive = [call for call in naive if call[2] >= step[1]]
        assert len(waiting) == len(naive)
        assert waiting.num_tokens == sum(tokens for _, tokens, _ in naive)
        assert waiting.since == min((booked_at for _, _, booked_at in naive), default=inf)
