import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.tools_gateway.upstreams.words import LINE_CHARACTERS, Said, Words, secrets_of

SECRET = "s3cr3t-of-file-env"


def test_values_of_the_file_are_secrets_from_eight_characters_on_and_what_is_passed_on_always():
    assert secrets_of({"LEVEL": "debug", "TOKEN": SECRET}, {"PIN": "123", "NONE": ""}) == (SECRET, "123")


def test_each_line_of_a_secret_of_several_lines_is_one():
    words = Words(secrets_of({"KEY": "-----BEGIN\nabcdefghijk\n-----END\n"}, {}))
    assert words.feed(b"key: abcdefghijk!\n") == ["key: [secret]!"]


@given(st.lists(st.integers(0, 60), max_size=6))
def test_a_secret_is_found_wherever_reads_are_cut(cuts):
    said = f"cannot log in with {SECRET} at all\nnext\n".encode()
    words, lines, shown = Words((SECRET,)), [], []
    edges = [0, *sorted(cuts), len(said)]
    for begin, end in itertools.pairwise(edges):
        lines += words.feed(said[begin:end])
        shown.append(words.last)
    assert lines == ["cannot log in with [secret] at all", "next"]
    assert not any(SECRET[:3] in text for text in shown)


@pytest.mark.parametrize("before", range(0, 40_000, 997))
def test_a_line_without_end_is_bounded_and_shows_no_part_of_a_secret(before):
    secret = "q" * 3000
    words = Words((secret,))
    for _ in range(3):
        words.feed(b"x" * before + secret.encode() + b"y" * 100)
    assert "q" not in words.last
    assert len(words.last) <= LINE_CHARACTERS
    assert len(words._open) < 64 * 1024
    (line,) = words.feed(b"\n")
    assert "q" not in line
    assert words.feed(b"more\n") == ["more"]


def test_the_last_words_are_those_that_say_something():
    words = Words(())
    words.feed(b"fatal: no disk\n\n  \n")
    assert words.last == "fatal: no disk"
    words.feed(b"half a li")
    assert words.last == "half a li"


def test_what_the_program_before_said_is_known_whatever_the_time_and_its_id():
    said = Said()
    assert not said.is_known("12:01:07 pid 17171 fails")
    assert not said.is_known("12:01:07 pid 17171 fails")
    said.next_program()
    assert said.is_known("12:01:09 pid 23232 fails")
    assert not said.is_known("it ended with status 3")
    said.next_program()
    assert not said.is_known("it ended with status 4")
