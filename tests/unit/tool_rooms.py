"""What runs ask of the other rooms, as a test tells it: upstreams alone are elsewhere."""

import json
from collections import Counter

from turnwise.tools_gateway.values import (
    Fault,
    Forecast,
    ToolFault,
)


class Forecaster:
    """Says what it was told to expect, a second otherwise."""

    def __init__(self):
        self.expected = {}
        self.observed = []
        self.num_samples = 10.0

    def forecast(self, key, argument_bytes, *, elapsed_s=0.0):
        p50_s = max(0.0, self.expected.get(key.tool, 1.0) - elapsed_s)
        return Forecast(p50_s / 2, p50_s, p50_s * 2, p50_s * 3, self.num_samples)

    def observe(self, key, argument_bytes, seconds, fate, now):
        self.observed.append((key.tool, round(seconds, 3), fate.value))


class Guard:
    """Refuses arguments that have a member `bad`; leaves a mark on results."""

    def arguments(self, tool, raw):
        try:
            arguments = json.loads(raw)
        except ValueError:
            raise ToolFault(Fault.BAD_ARGUMENTS, "no JSON") from None
        self.check(tool, arguments)
        return arguments

    def check(self, tool, arguments):
        if "bad" in arguments:
            raise ToolFault(Fault.BAD_ARGUMENTS, "bad: must not be there")

    def result(self, tool, result):
        if result.get("isHuge"):
            raise ToolFault(Fault.TOO_LARGE, "too large")
        return {**result, "_meta": {"untrusted": True}}

    def relayed(self, upstream, result):
        return self.result(None, result)

    def refusal(self, fault):
        return ToolFault(fault.fault, f"clean {fault.message}", fault.error)


class Audit:
    """Keeps its records in the order in which they came."""

    def __init__(self):
        self.records = []
        self.seconds = []
        """That each end was written with."""
        self.can_write = True

    def decided(self, tool, principal, arguments, *, how, turn=""):
        if not self.can_write:
            return ""
        record = f"r{len(self.records)}"
        self.records.append(("decided", record, tool.name, principal.tenant, str(how), turn))
        return record

    def ended(self, record, fate, fault, seconds, result):
        assert record
        self.seconds.append(seconds)
        self.records.append(("ended", record, str(fate), fault and str(fault)))

    def refused(self, name, principal, fault, *, turn=""):
        self.records.append(("refused", name, str(fault)))

    def voided(self, record, why):
        assert record
        self.records.append(("voided", record, str(why)))

    def of(self, kind):
        return [record[1:] for record in self.records if record[0] == kind]

    def check_balance(self):
        """Every decision has one end, and no void without an early decision."""
        decided = Counter(record for record, *_ in self.of("decided"))
        ended = Counter(record for record, *_ in self.of("ended"))
        assert decided == ended
        early = {record for record, _, _, how, _ in self.of("decided")}
        voided = Counter(record for record, _ in self.of("voided"))
        assert voided.keys() <= early
        assert set(voided.values()) <= {1}


class Meter:
    """Keeps what it is told."""

    def __init__(self):
        self.calls = []
        self.faults = []
        self.early = []
        self.ends = []
        self.waits = []

    def called(self, tool, done):
        self.calls.append(done)

    def refused(self, fault):
        self.faults.append(fault)

    def early_ended(self, tool, why):
        self.early.append(why)

    def not_early(self, tool, why):
        self.waits.append(why)

    def announcement_ended(self, end):
        self.ends.append(end)
