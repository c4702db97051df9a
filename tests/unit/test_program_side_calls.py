"""Calls beside a conversation (titles, summaries) belong to the goal they are made for, whichever is answered first."""

import pytest
from tests.unit.agents import World, calls, result, says, user

GO = user("Look at the folder and say what is in it.")
LS = calls(("call_1", "ls"))
DONE = says("There are two files.")
TITLE = {"system": {"role": "system", "content": "You make titles."}, "answer": says("Folder.")}
SESSIONS = [{"headers": {"x-claude-code-session-id": "cc-1"}}, {"prompt_cache_key": "cc-1"}]


@pytest.mark.parametrize("session", SESSIONS)
def test_a_title_that_is_answered_first_is_of_the_goal_that_it_names(session):
    world = World()
    title = world.call(GO, **TITLE, **session)
    first = world.call(GO, answer=LS, **session)
    last = world.call(GO, LS, result("call_1"), answer=DONE, **session)
    assert title.key is first.key is last.key


@pytest.mark.parametrize("session", SESSIONS)
def test_a_title_that_is_answered_last_is_of_the_goal_that_it_names(session):
    world = World()
    first = world.call(GO, answer=DONE, **session)
    title = world.call(GO, **TITLE, **session)
    assert title.key is first.key


@pytest.mark.parametrize("session", SESSIONS)
def test_the_next_conversation_is_the_next_goal_though_a_title_was_answered_since(session):
    world = World()
    first = world.call(GO, answer=DONE, **session)
    world.call(GO, **TITLE, **session)
    assert world.begin(user("Else."), **session).key.follows == first.key.id


@pytest.mark.parametrize("session", SESSIONS)
def test_the_title_of_the_next_goal_is_of_that_after_a_conversation_of_several_calls(session):
    world = World()
    first = world.call(GO, answer=LS, **session)
    world.call(GO, LS, result("call_1"), answer=DONE, **session)
    title = world.call(user("Else."), **TITLE, **session)
    second = world.begin(user("Else."), **session)
    assert title.key is second.key
    assert second.key.follows == first.key.id


def test_conversations_under_one_cache_key_are_not_mixed_though_a_title_came_first():
    world = World()
    key = {"prompt_cache_key": "app"}
    world.call(GO, **TITLE, **key)
    one = world.call(GO, answer=LS, **key)
    world.call(GO, LS, result("call_1"), answer=calls(("call_2", "ls")), **key)
    assert world.begin(user("Else."), **key).key.id != one.key.id
