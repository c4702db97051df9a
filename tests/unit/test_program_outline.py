"""The order in which rows of a program are read, and how far in each stands."""

from tests.unit.told_calls import ran, told

from turnwise.proxy.programs.ledger import account
from turnwise.proxy.programs.outline import outlined
from turnwise.proxy.programs.waterfall import Row, RowKind, RowLink, waterfall


def read(*calls):
    """Ids of the rows of calls and tools, each after as many dots as it stands in."""
    ended = sorted(calls, key=lambda call: call.times.ended)
    rows = outlined(waterfall(ended, account(ended, 0.0, ())))
    return [f"{'.' * row.depth}{row.id}" for row in rows if row.kind is not RowKind.GAP]


def test_no_rows_are_no_lines():
    assert outlined(()) == ()


def test_a_conversation_is_read_as_it_happened():
    assert read(told("a", 0, 1, tools=["bash"]), told("b", 2, 3, ("continue", "a"), runs=[ran("a", 1, 2)])) == [
        "a",
        "a/a-0",
        "b",
    ]


def test_sub_agents_that_ran_at_the_same_time_stand_together_each_below_what_spawned_it():
    calls = [
        told("a", 0, 1, tools=["task", "task"]),
        told("x1", 1.1, 2, ("spawn", "a"), agent=2),
        told("y1", 1.2, 3, ("spawn", "a"), agent=1),
        told("x2", 2.5, 4, ("continue", "x1"), agent=2),
        told("b", 5, 6, ("join", "x2"), ("join", "y1"), ("continue", "a")),
    ]
    assert read(*calls) == ["a", ".x1", ".x2", ".y1", "b"]


def test_a_sub_agent_of_a_sub_agent_stands_further_in():
    calls = [
        told("a", 0, 1, tools=["task"]),
        told("x", 1.1, 2, ("spawn", "a"), agent=1, tools=["task"]),
        told("deep", 2.1, 3, ("spawn", "x"), agent=2),
        told("x2", 3.1, 4, ("continue", "x"), agent=1),
        told("b", 5, 6, ("continue", "a")),
    ]
    assert read(*calls) == ["a", ".x", "..deep", ".x2", "b"]


def test_a_side_call_that_nothing_spawned_stands_where_it_began_and_no_further_in():
    calls = [
        told("a", 0, 1),
        told("title", 0.5, 0.8, agent=1),
        told("b", 2, 3, ("continue", "a")),
    ]
    assert read(*calls) == ["a", "title", "b"]


def test_the_gap_before_a_sub_agent_is_not_when_it_began():
    calls = [
        told("a", 0, 1, tools=["task", "task"]),
        told("early", 1.2, 2, ("spawn", "a"), agent=1),
        told("late", 1.3, 5, ("spawn", "a"), agent=2),
        told("b", 6, 7, ("join", "late"), ("join", "early"), ("continue", "a")),
    ]
    assert read(*calls) == ["a", ".early", ".late", "b"]


def test_rows_that_say_they_spawned_each_other_are_all_told_once():
    def row(name, agent, spawner):
        return Row(name, RowKind.CALL, agent, "", "m", float(agent), agent + 1.0, (), False, None, (RowLink("spawn", spawner),))

    rows = [row("a", 0, "b"), row("b", 1, "c"), row("c", 2, "b"), row("d", 3, "d")]
    assert sorted(line.id for line in outlined(rows)) == ["a", "b", "c", "d"]
