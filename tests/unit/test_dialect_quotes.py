"""A prompt that quotes a tool call's argument shares a hash with it, in whichever form; short strings and others do not."""

import json

import pytest

from turnwise.dialects import quotes
from turnwise.turns import MAX_QUOTES

TASK = "Find every place where the retry limit is read."
LONGER = f"{TASK}\n\nReport the file and the line.\n- and nothing else, please"


def does_quote(texts, arguments):
    return not set(quotes.of_texts(texts)).isdisjoint(quotes.of_arguments(json.dumps(arguments)))


@pytest.mark.parametrize(
    "texts",
    [
        [TASK],
        [f"  {TASK}\n"],
        [TASK.replace(" ", "\n  ")],
        ["<system-reminder>\nToday is Saturday.\n</system-reminder>", TASK],
        [f"You are an explorer.\n\n{TASK}\n\nBe brief."],
        [f"Task: {TASK}\nBe brief."],
        [f"You are an explorer.\r\nYour task: {TASK}"],
        [LONGER],
    ],
)
def test_a_turn_quotes_an_argument(texts):
    assert does_quote(texts, {"description": "limits", "prompt": TASK})


@pytest.mark.parametrize("arguments", [TASK, [TASK], {"a": [{"b": {"c": TASK}}]}, {"tasks": ["short", TASK]}, {"p": LONGER}])
def test_arguments_are_walked_to_every_string_and_line(arguments):
    assert does_quote([TASK], arguments)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (TASK, {"prompt": TASK + " Now."}),
        (f"Say {TASK}", {"prompt": TASK}),
        ("Read the file", {"prompt": "Read the file"}),
        ("/home/user/project/src/main.py", {"path": "/home/user/project/src/main.py"}),
        ("two-very-long-words indeed-they-are", {"query": "two-very-long-words indeed-they-are"}),
        ("", {"prompt": ""}),
        (TASK, {TASK: "as a name"}),
        (TASK, None),
    ],
)
def test_what_is_short_or_only_like_it_is_no_quote(text, arguments):
    assert not does_quote([text], arguments)


def test_a_script_without_spaces_needs_no_words():
    text = "请检查代码库中所有读取重试次数的地方并报告"
    assert does_quote([text], {"prompt": text})
    assert not does_quote([text[:15]], {"prompt": text[:15]})


@pytest.mark.parametrize("arguments", [b"", "", "{", '{"a": "' + TASK, b"\xff" * 40, "[" * 5000, f'"{TASK}" x', b"null" * 9])
def test_arguments_that_are_no_json_say_nothing(arguments):
    assert quotes.of_arguments(arguments) == ()


def test_arguments_as_bytes_say_the_same():
    arguments = json.dumps({"prompt": TASK})
    assert quotes.of_arguments(arguments.encode()) == quotes.of_arguments(arguments) != ()


def test_what_is_looked_at_is_bounded():
    many = [f"This is task number {number}." for number in range(1000)]
    assert len(quotes.of_arguments(json.dumps(many))) == MAX_QUOTES
    assert len(quotes.of_texts(["\n".join(many)])) <= quotes.MAX_CANDIDATES
    assert quotes.of_arguments(json.dumps(["x y z " * quotes.MAX_ARGUMENT_BYTES, TASK])) == ()
    assert quotes.of_texts(["x y z " * quotes.MAX_ARGUMENT_BYTES, TASK]) == ()
    assert quotes.of_texts([TASK, "x y z " * quotes.MAX_ARGUMENT_BYTES]) == quotes.of_texts([TASK])
    deep = TASK
    for _ in range(quotes.MAX_DEPTH + 1):
        deep = [deep]
    assert quotes.of_arguments(json.dumps(deep)) == ()
    assert quotes.of_arguments(json.dumps(deep[0])) != ()


def test_the_lines_of_the_last_part_are_looked_at_before_those_of_others():
    reminders = "\n".join(f"This is reminder number {number}." for number in range(quotes.MAX_CANDIDATES))
    assert does_quote([reminders, f"Task:\n{TASK}"], TASK)
    assert not does_quote([f"Task:\n{TASK}", reminders], TASK)


def test_of_many_lines_the_longest_are_kept_and_whole_strings_before_them():
    lines = [f"This is a line of {number} " + "words " * number for number in range(40)]
    kept = quotes.of_arguments(json.dumps({"content": "\n".join(lines), "note": TASK}))
    assert kept[:2] == quotes.of_texts(["\n".join(lines)])[:1] + quotes.of_texts([TASK])
    assert set(kept[2:]) == set(quotes.of_texts(lines[-14:])) & set(kept)
    assert len(kept) == MAX_QUOTES
