"""The runtime table as it is written down and read back."""

import math

import msgspec
import pytest
from tests.unit.test_tools_forecast import ELSEWHERE, KEY, OTHER, lognormal, observed

from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.forecast.state import TableState
from turnwise.tools_gateway.values import Fate, ToolKey


def test_a_table_read_back_tells_the_same():
    table = observed(lognormal(11, 300, 1.0))
    observed([1.5] * 30, KEY, size=5000, table=table)
    observed([0.2] * 3, OTHER, table=table)
    observed([9.0] * 3, fate=Fate.TIMEOUT, table=table)
    observed([0.1] * 3, fate=Fate.ERROR, table=table)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(table.dump(300.0)), type=TableState)
    again = RunTable()
    again.restore(state, now=1000.0, away_s=60.0)
    for key, size in ((KEY, 10), (KEY, 5000), (OTHER, 10), (ToolKey(KEY.upstream, "new"), 10), (ELSEWHERE, 10)):
        before = msgspec.structs.astuple(table.forecast(key, size))
        assert msgspec.structs.astuple(again.forecast(key, size)) == pytest.approx(before, rel=1e-5)
    assert again.told(KEY).last_run_at == pytest.approx(1000.0 - 60.0 - (300.0 - table.told(KEY).last_run_at))


def test_tools_that_have_not_run_for_a_month_are_not_read_back():
    state = observed([1.0] * 3).dump(10.0)
    table = RunTable()
    table.restore(state, now=0.0, away_s=31 * 86400.0)
    assert table.told(KEY) is None


WRONG = {
    "a value that is no time": {"runs": b"\x00\x00\x80\x7f"},
    "half a value": {"runs": b"\x00\x00"},
    "a zero": {"errors": b"\x00\x00\x00\x00"},
    "a size that there is not": {"sizes": {77: b""}},
    "a count below zero": {"fates": {Fate.SUCCESS: -1.0}},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_table_that_cannot_be_true_is_refused_and_changes_nothing(wrong):
    state = observed([1.0] * 3).dump(10.0)
    broken = msgspec.structs.replace(state, tools=[msgspec.structs.replace(state.tools[0], **wrong)])
    table = RunTable()
    with pytest.raises(ValueError):
        table.restore(broken, now=0.0)
    assert table.num_tools == 0


def test_sums_that_no_values_have_are_refused():
    state = observed([1.0] * 3).dump(10.0)
    with pytest.raises(ValueError, match="no values have these sums"):
        RunTable().restore(msgspec.structs.replace(state, everything=(math.nan, 0.0, 0.0)), now=0.0)
