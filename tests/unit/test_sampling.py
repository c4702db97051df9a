"""Which programs are traced."""

import pytest

from turnwise.proxy.programs.sampling import is_sampled
from turnwise.proxy.programs.spans import program_ids


@pytest.mark.parametrize(
    ("low", "ratio", "wanted"), [(0, 0.0, False), (0, 0.5, True), (2**63, 0.5, False), (2**64 - 1, 1.0, True)]
)
def test_a_trace_is_sampled_where_its_last_eight_bytes_lie_below_the_ratio(low, ratio, wanted):
    assert is_sampled(b"\xff" * 8 + low.to_bytes(8), ratio) is wanted


def test_the_share_of_programs_that_are_traced_is_the_ratio():
    traced = sum(is_sampled(program_ids("acme", str(number), 0)[1], 0.2) for number in range(5000))
    assert 0.18 < traced / 5000 < 0.22


@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_clients_own_decision_goes_first(inbound, ratio):
    assert is_sampled(program_ids("acme", "nightly", 0)[1], ratio, inbound) is inbound
