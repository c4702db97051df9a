"""What judges predictions is itself right."""

import pytest
from bench.tools import prediction
from bench.tools.prediction import KINDS, SHARES, SMALL, PlainWindow, judge


class Oracle:
    """Knows how run times are drawn, but not that they change."""

    def tell(self, tool, num_bytes):
        kind = KINDS[tool]
        return tuple(map(kind.small if num_bytes == SMALL else kind.large, SHARES))

    def learn(self, tool, num_bytes, seconds):
        pass


class Wide(Oracle):
    """Tells a band that covers everything."""

    def tell(self, tool, num_bytes):
        _, p50, _, p99 = super().tell(tool, num_bytes)
        return 0.0, p50, 100 * p99, 100 * p99


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_has_times_that_grow_with_the_share(kind):
    for quantile in (kind.small, kind.large):
        times = [quantile(share / 100) for share in range(1, 100)]
        assert times == sorted(times)
        assert times[0] > 0


def test_who_knows_how_times_are_drawn_loses_no_more_than_the_oracle_until_they_change():
    before, after = judge(Oracle(), 1, 10.0)
    assert (before.loss, before.worst_loss) == (1.0, 1.0)
    assert before.covered == pytest.approx(0.8, abs=0.03)
    assert after.loss > 2.0
    assert after.covered < 0.4


def test_a_band_that_covers_everything_is_found_out_by_its_loss():
    before, _ = judge(Wide(), 1, 10.0)
    assert before.covered > 0.99
    assert before.loss > 2.0


def test_the_same_seed_gives_the_same_figures():
    assert judge(PlainWindow(), 3, 0.1) == judge(PlainWindow(), 3, 0.1)


def test_pinball_charges_each_side_by_its_share():
    assert prediction.pinball(2.0, 0.9, 3.0) == pytest.approx(0.9)
    assert prediction.pinball(2.0, 0.9, 1.0) == pytest.approx(0.1)
