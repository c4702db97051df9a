"""What the lease is told while an answer passes, and when the pipeline's own tap steps aside."""

import pytest

from turnwise.dialects import DIALECTS
from turnwise.proxy.lease_tap import LeaseTap
from turnwise.types import DialectName

EMPTY = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'


class Told:
    """A lease that keeps what it was told."""

    def __init__(self):
        self.prefill_ends = []
        self.kept = []

    def prefill_done(self, now):
        self.prefill_ends.append(now)

    def keep(self, response_id):
        self.kept.append(response_id)


@pytest.fixture
def lease():
    return Told()


def test_the_dialects_tap_watches_alone_once_the_first_token_was_told(lease):
    inner = DIALECTS[DialectName.CHAT].tap()
    tap = LeaseTap(inner, lease, is_stored=False)
    tap.on_head(200, is_stream=True)
    assert tap.feed(EMPTY, 1.0) is None
    assert lease.prefill_ends == []
    assert tap.feed(TEXT, 2.0) is inner
    assert (lease.prefill_ends, inner.first_token_at) == ([2.0], 2.0)


def test_the_id_of_a_kept_answer_is_told_at_once_and_again_at_the_end(lease):
    tap = LeaseTap(DIALECTS[DialectName.RESPONSES].tap(), lease, is_stored=True)
    tap.on_head(200, is_stream=True)
    assert tap.feed(b'data: {"type":"response.created","response":{"id":"r1"}}\n\n', 1.0) is None
    assert lease.kept == ["r1"]
    assert tap.feed(b'data: {"type":"response.output_text.delta","delta":"Hi"}\n\n', 2.0) is None
    lease.kept.clear()
    tap.close(3.0)
    assert (lease.kept, lease.prefill_ends) == (["r1"], [2.0])


def test_the_id_of_a_kept_answer_that_comes_late_is_told_with_its_read(lease):
    tap = LeaseTap(DIALECTS[DialectName.RESPONSES].tap(), lease, is_stored=True)
    tap.on_head(200, is_stream=True)
    tap.feed(b'data: {"type":"response.output_text.delta","delta":"Hi"}\n\n', 1.0)
    tap.feed(b'data: {"type":"response.completed","response":{"id":"r1"}}\n\n', 2.0)
    assert lease.kept == ["r1"]


def test_an_answer_that_no_dialect_watches_ends_its_prefill_with_its_first_bytes(lease):
    tap = LeaseTap(None, lease, is_stored=True)
    tap.on_head(200, is_stream=False)
    assert tap.feed(b"x", 1.0) is None
    tap.feed(b"y", 2.0)
    tap.close(3.0)
    assert lease.prefill_ends == [1.0]
