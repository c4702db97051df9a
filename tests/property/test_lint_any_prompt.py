"""Whatever stands in the turns of two calls, comparing them neither fails nor finds what is not there."""

import json

from hypothesis import given
from hypothesis import strategies as st

from turnwise.index import prompt_chain
from turnwise.proxy.lint import Linter
from turnwise.settings import LintSettings
from turnwise.types import Prompt, Segment, SegmentKind

NAMES = st.sampled_from(["role", "content", "type", "reasoning", "thinking", "required", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "reasoning", "thinking", "required", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
RAWS = VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
SEGMENTS = st.lists(st.builds(Segment, st.sampled_from(list(SegmentKind)), RAWS), min_size=1, max_size=8)


class FakeCall:
    """What the linter reads of a request."""

    def __init__(self, root, segments, session):
        self.prompt = Prompt.of(root, segments)
        self.chain = prompt_chain(self.prompt)
        self.body = b"".join(segment.raw for segment in segments)
        self.session, self.is_session_named = session, session is not None
        self.continues = ()


@given(SEGMENTS, SEGMENTS, SEGMENTS, st.sampled_from([b"1:m", b"api/1:m2:", b"", b":", b"99:m"]), st.booleans())
def test_any_two_prompts_are_compared(shared, one, other, root, is_named):
    session = "s" if is_named else None
    first, second = FakeCall(b"1:m", shared + one, session), FakeCall(root, shared + other + one, session)
    linter = Linter(LintSettings(), bytes_per_token=4.0)
    assert linter.check(first, 0.0) is None
    finding = linter.check(second, 1.0)
    if finding is not None:
        before, after = (b"".join(map(bytes, call.prompt.raws)) for call in (first, second))
        assert root != b"1:m" or before[: finding.prompt_byte] == after[: finding.prompt_byte]
        assert 0 <= finding.segment < len(second.prompt.kinds)
        assert 0 <= finding.tokens_lost <= len(before)


@given(SEGMENTS, SEGMENTS)
def test_a_prompt_that_extends_another_is_never_a_finding(one, more):
    linter = Linter(LintSettings(), bytes_per_token=4.0)
    assert linter.check(FakeCall(b"1:m", one, "s"), 0.0) is None
    assert linter.check(FakeCall(b"1:m", one + more, "s"), 0.0) is None
