"""How a bench keeps a machine to itself, and knows when it was not."""

import struct

from bench.proxy.undisturbed import awake, stolen_s


def test_cores_are_kept_awake_where_that_is_allowed(tmp_path):
    latency = tmp_path / "latency"
    latency.touch()
    with awake(latency) as is_awake:
        assert is_awake
    assert latency.read_bytes() == struct.pack("i", 0)


def test_a_system_that_does_not_allow_it_is_told_of(tmp_path):
    with awake(tmp_path / "none") as is_awake:
        assert not is_awake


def test_what_the_host_took_is_told_of_each_core(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 30 0 0\ncpu0 1 2 3 4 5 6 7 10 0 0\ncpu1 1 2 3 4 5 6 7 20 0 0\nintr 5\n")
    taken = stolen_s(stat)
    assert list(taken) == ["cpu0", "cpu1"]
    assert taken["cpu1"] == 2 * taken["cpu0"] > 0
