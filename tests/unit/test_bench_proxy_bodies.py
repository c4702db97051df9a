"""What the proxy's benchmark sends."""

import json
import struct
from itertools import pairwise

import pytest
from bench.proxy import bodies
from bench.proxy.scenarios import SCENARIOS, write_bodies


@pytest.mark.parametrize("size", [1_000, 10_000, 100_000])
def test_bodies_are_distinct_json_of_exactly_the_size_asked_for(size):
    made = [next(one.bodies()) for one in bodies.single(1, 20, size)]
    assert {len(body) for body in made} == {size}
    assert len({json.loads(body)["messages"][1]["content"] for body in made}) == 20


def test_arguments_of_a_body_stand_beside_its_messages():
    body = json.loads(next(bodies.single(1, 1, 1_000, {"stream": True, "seed": 2_000})[0].bodies()))
    assert (body["stream"], body["seed"], len(body["messages"])) == (True, 2_000, 2)


def test_a_body_too_small_for_a_conversation_is_refused():
    with pytest.raises(ValueError, match="no room"):
        bodies.single(1, 1, 50)


def test_equal_seeds_give_equal_bytes_and_others_do_not():
    assert bodies.single(1, 3, 10_000) == bodies.single(1, 3, 10_000)
    assert bodies.single(1, 3, 10_000) != bodies.single(2, 3, 10_000)


def test_each_turn_of_a_growing_conversation_extends_the_last_up_to_600_kb():
    first, second = bodies.growing(1, 2)
    turns = [json.loads(body)["messages"] for body in first.bodies()]
    sizes = [len(body) for body in first.bodies()]
    assert (sizes[0], sizes[-1], len(sizes)) == (545_000, 600_000, 12)
    assert all(len(before) < len(after) and after[: len(before)] == before for before, after in pairwise(turns))
    assert {message["role"] for message in turns[0]} == {"system", "user", "assistant", "tool"}
    assert next(second.bodies()) != next(first.bodies())


def test_every_turn_holds_the_nonce_and_what_stands_before_it_is_shared():
    (one,) = bodies.growing(1, 1)
    assert one.text[one.nonce_at : one.nonce_at + 16] == bodies.NONCE.encode()
    assert 535_000 < one.nonce_at < one.ends[0]


def test_the_file_holds_each_conversation_where_the_generator_looks_for_it(tmp_path):
    made = bodies.single(1, 3, 1_001)
    path = tmp_path / "bodies"
    bodies.write(path, made)
    data = path.read_bytes()
    assert data[:8] == b"TWB1" + struct.pack("<I", 3)
    at = 8
    for one in made:
        num_turns, nonce_at, text_size, tail_size, end = struct.unpack_from("<5I", data, at)
        assert (num_turns, nonce_at, end) == (1, 0, text_size)
        at += 20
        assert data[at : at + text_size + tail_size] == one.text + one.tail
        at += text_size + tail_size + -(text_size + tail_size) % 4
    assert at == len(data)


def test_every_scenario_has_bodies_for_all_its_connections(tmp_path):
    paths = write_bodies(tmp_path, 1, SCENARIOS)
    for scenario in SCENARIOS:
        (number,) = struct.unpack("<I", paths[scenario.bodies].read_bytes()[4:8])
        assert number >= scenario.connections
