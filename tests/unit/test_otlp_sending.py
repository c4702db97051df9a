"""What is tried again, when, and for how long; on a clock of the test's own."""

import pytest
from tests.sink.records import call, key, wall_ns

from turnwise.proxy.export.otlp.exporter import Exporter
from turnwise.proxy.export.otlp.sending import FIRST_PAUSE_S, MAX_PAUSE_S, RETRY_FOR_S, Answer, Delivery, Verdict
from turnwise.proxy.programs.values import Ended, Outcome, ToolRun
from turnwise.settings import Settings
from turnwise.turns import ToolCall
from turnwise.types import CallId

TAKEN, LATER, REFUSED = Answer(Verdict.TAKEN), Answer(Verdict.LATER, "HTTP 503"), Answer(Verdict.REFUSED, "HTTP 400")


class Backend:
    """Says what it is told to, then takes everything; each attempt takes `takes_s`, or the time it is given."""

    def __init__(self, *answers, takes_s=0.0):
        self.answers = list(answers)
        self.takes_s = takes_s
        self.now = 100.0
        self.sent = []
        self.waits = []
        self.timeouts = []

    def send(self, batch, timeout_s):
        self.sent.append(batch)
        self.timeouts.append(timeout_s)
        self.now += min(self.takes_s, timeout_s)
        return self.answers.pop(0) if self.answers else TAKEN

    def close(self):
        pass

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds

    def delivery(self):
        return Delivery(self, 10.0, clock=lambda: self.now, wait=self.wait)


def test_a_batch_that_is_taken_is_sent_once():
    backend = Backend()
    assert backend.delivery().bring(b"batch") is TAKEN
    assert (backend.sent, backend.waits, backend.timeouts) == ([b"batch"], [], [10.0])


def test_a_refused_batch_is_not_sent_again():
    backend = Backend(REFUSED)
    assert backend.delivery().bring(b"batch") is REFUSED
    assert len(backend.sent) == 1


def test_pauses_double_up_to_a_bound():
    backend = Backend(*[LATER] * 6)
    assert backend.delivery().bring(b"batch") is TAKEN
    wanted = [FIRST_PAUSE_S, 2.0, 4.0, 8.0, MAX_PAUSE_S, MAX_PAUSE_S]
    assert backend.waits == [pytest.approx(pause, rel=0.2) for pause in wanted]


def test_a_backend_is_left_alone_for_as_long_as_it_asks():
    backend = Backend(Answer(Verdict.LATER, "HTTP 429", after_s=17.0))
    assert backend.delivery().bring(b"batch") is TAKEN
    assert backend.waits == [17.0]


def test_a_batch_is_given_up_in_bounded_time():
    backend = Backend(*[LATER] * 1000, takes_s=10.0)
    assert backend.delivery().bring(b"batch") is LATER
    assert backend.now - 100.0 <= RETRY_FOR_S + 10.0


def test_a_backend_that_asks_for_more_than_there_is_time_loses_the_batch_at_once():
    backend = Backend(Answer(Verdict.LATER, "HTTP 503", after_s=RETRY_FOR_S + 1))
    assert backend.delivery().bring(b"batch").verdict is Verdict.LATER
    assert backend.waits == []


def test_before_a_deadline_no_attempt_and_no_pause_outlasts_it():
    backend = Backend(*[LATER] * 1000, takes_s=0.5)
    delivery = backend.delivery()
    delivery.hurry(backend.now + 5.0)
    assert delivery.bring(b"batch") is LATER
    assert backend.now <= 105.0
    assert backend.timeouts[0] == 5.0
    assert not delivery.is_over
    backend.now = 105.0
    assert delivery.is_over


NAME = "n" * 256


@pytest.mark.parametrize(
    ("changes", "num_chars"),
    [
        ({"model": NAME}, 256),
        ({"response_id": NAME}, 256),
        ({"tools": (ToolCall(NAME, NAME),) * 100}, 51_200),
        ({"runs": (ToolRun(NAME, NAME, CallId("c"), 1.0, 2.0),) * 100}, 51_200),
    ],
)
def test_what_waits_weighs_no_less_than_the_names_in_it(changes, num_chars):
    def weights(**changes):
        record = call(**{"model": None, "response_id": None} | changes)
        exporter = Exporter(Settings(), Backend(), 10.0, b"", wall_ns)
        exporter.call_ended(key(), record)
        first = exporter.pending_bytes
        exporter.program_ended(Ended(key(), Outcome.ANSWERED, (record,), 1.0))
        return first, exporter.pending_bytes - first

    assert [heavy - light >= num_chars for heavy, light in zip(weights(**changes), weights(), strict=True)] == [True, True]
