"""The critical path against an oracle that knows nothing of it: a schedule in which one node at a time takes longer."""

import math
import random
from itertools import pairwise

import pytest
from tests.unit.told_calls import ran, told

from turnwise.proxy.programs.ledger import account
from turnwise.proxy.programs.values import LinkKind

NUM_GRAPHS = 1_000
LONGER_S = 2.0**-20


class Plan:
    """A random graph of calls and measured tool runs: how long each takes, what it waits for, and the pause after that.

    A run that is `early` begins so long after its caller began, which goes on meanwhile.
    """

    def __init__(self, seed):
        rng = random.Random(seed)
        self.names, self.lengths, self.pauses, self.waits = [], {}, {}, {}
        self.tools, self.early = {}, {}
        for number in range(rng.randint(2, 12)):
            name = f"c{number}"
            before = [other for other in self.names if other not in self.tools]
            found = rng.sample(before, min(len(before), rng.randint(1, 3)))
            runs = []
            for position, caller in enumerate(found):
                if rng.random() < 0.4:
                    run = f"{caller}/{caller}-{number}{position}"
                    self._add(rng, run, [caller])
                    self.tools[run] = (caller, f"{number}{position}")
                    if rng.random() < 0.4:
                        self.early[run] = self.lengths[caller] * rng.uniform(0.1, 0.9)
                    runs.append(run)
            self._add(rng, name, found + runs)

    def _add(self, rng, name, waits):
        self.names.append(name)
        self.lengths[name] = rng.uniform(0.1, 10.0)
        self.pauses[name] = rng.choice((0.0, rng.uniform(0.0, 5.0))) if waits else 0.0
        self.waits[name] = waits

    def times(self, longer=None):
        """When each begins and ends, where `longer` takes a little longer than planned, before anything else begins in it."""
        found = {}
        for name in self.names:
            start = max((found[other][1] for other in self.waits[name]), default=100.0) + self.pauses[name]
            if name in self.early:
                (caller,) = self.waits[name]
                start = found[caller][0] + self.early[name] + (LONGER_S if caller == longer else 0.0)
            found[name] = (start, start + self.lengths[name] + (LONGER_S if name == longer else 0.0))
        return found

    def paths(self, name):
        """Every chain of nodes that ends in `name`, the first first."""
        if not self.waits[name]:
            return [[name]]
        return [[*path, name] for other in self.waits[name] for path in self.paths(other)]

    def calls(self):
        """Their records, in the order of their ends."""
        times = self.times()
        found = []
        for name in self.names:
            if name not in self.tools:
                waits = self.waits[name]
                runs = [
                    ran(self.tools[run][0], *times[run], number=self.tools[run][1], is_inferred=False)
                    for run in waits
                    if run in self.tools
                ]
                links = [("join", other) for other in waits if other not in self.tools]
                found.append(told(name, *times[name], *links, runs=runs))
        return sorted(found, key=lambda call: call.times.ended)


@pytest.mark.parametrize("batch", range(10))
def test_the_path_the_slack_and_the_sums_are_those_of_the_oracle(batch):
    for seed in range(batch, NUM_GRAPHS, 10):
        check(Plan(seed))


def check(plan):
    times = plan.times()
    begin, end = min(start for start, _ in times.values()), max(end for _, end in times.values())
    ledger = account(plan.calls(), begin, ())
    nodes = [stretch.node for stretch in ledger.path if not stretch.is_gap]
    path = [name for name, following in pairwise([*nodes, None]) if name != following]

    delays = {name: max(after for _, after in plan.times(longer=name).values()) - end for name in plan.names}
    assert set(path) == {name for name, delay in delays.items() if delay > LONGER_S / 2}

    last = max(plan.names, key=lambda name: times[name][1])
    assert path == max(plan.paths(last), key=lambda chain: [times[name][1] for name in reversed(chain)])

    assert ledger.path[0].start == begin
    assert ledger.path[-1].end == end
    assert all(left.end == right.start for left, right in pairwise(ledger.path))
    assert abs(math.fsum(ledger.causes.values()) - ledger.makespan_s) < 1e-9
    waited = math.fsum(stretch.end - stretch.start for stretch in ledger.path if stretch.is_gap)
    assert waited == pytest.approx(idle(path, times), abs=1e-9)

    expected = {name: slack(plan, times, name, end) for name in plan.names if name not in path}
    assert ledger.slack == pytest.approx(expected, abs=1e-9)


def idle(chain, times):
    """Time between the nodes of a chain; none before one that began within the other."""
    return math.fsum(max(0.0, times[right][0] - times[left][1]) for left, right in pairwise(chain))


def slack(plan, times, name, end):
    """How much longer a node could have taken before it passed the beginning of one that waited for its end."""
    waiting = [other for other in plan.names if name in plan.waits[other] and other not in plan.early]
    return min([times[other][0] for other in waiting] or [end]) - times[name][1]


@pytest.mark.parametrize("seed", range(300))
def test_whatever_records_say_the_path_has_no_holes_and_sums_to_the_makespan(seed):
    """Links into the future, to nowhere and both ways, overlaps, empty calls, runs that end before they start."""
    rng = random.Random(seed)
    calls = []
    names = [f"c{number}" for number in range(rng.randint(1, 15))]
    for name in names:
        start = rng.choice((rng.uniform(0.0, 50.0), float(rng.randint(0, 5))))
        links = [(rng.choice(list(LinkKind)), rng.choice([*names, "nowhere"])) for _ in range(rng.randint(0, 2))]
        runs = [
            ran(
                rng.choice([*names, "nowhere"]),
                rng.uniform(0.0, 50.0),
                rng.uniform(0.0, 50.0),
                number=number,
                is_inferred=rng.random() < 0.5,
                queued_at=rng.choice((None, rng.uniform(0.0, 50.0))),
                is_conversation=rng.random() < 0.2,
            )
            for number in range(rng.randint(0, 3))
        ]
        tools = ["bash"] * rng.randint(0, 2)
        calls.append(told(name, start, start + rng.choice((0.0, rng.uniform(0.0, 20.0))), *links, tools=tools, runs=runs))
    calls.sort(key=lambda call: call.times.ended)
    ledger = account(calls, min(call.times.arrived for call in calls), ())
    assert abs(math.fsum(ledger.causes.values()) - ledger.makespan_s) < 1e-9
    assert all(left.end == right.start for left, right in pairwise(ledger.path))
    assert all(stretch.start < stretch.end for stretch in ledger.path)
    assert all(slack >= 0.0 for slack in ledger.slack.values())
    assert ledger.makespan_s >= max(call.times.ended for call in calls) - min(call.times.arrived for call in calls) - 1e-9
