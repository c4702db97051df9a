"""How far templates are trusted, by what came of believing them."""

from turnwise.index import AnswerKind
from turnwise.index.trust import (
    CONFIRMATIONS_TO_FORGIVE,
    JOINED_PER_BREAK,
    MAX_BALANCE,
    MAX_CONTRADICTIONS,
    MAX_TEMPLATES,
    Trust,
)

PLAIN, CALLS = AnswerKind.PLAIN, AnswerKind.CALLS


def judged(*fates):
    """Trust after plain answers that joined (True) or broke."""
    trust = Trust()
    for has_joined in fates:
        trust.judge_answer(b"t", PLAIN, has_joined=has_joined)
    return trust


def test_a_template_is_trusted_until_it_has_contradicted_itself_a_few_times_and_alone_in_that():
    trust = Trust()
    for _ in range(MAX_CONTRADICTIONS):
        assert trust.trusts_growth(b"t")
        trust.contradicted(b"t")
    assert not trust.trusts_growth(b"t")
    assert trust.trusts_growth(b"u")
    assert trust.num_whole_only == 1


def test_a_contradiction_begins_the_row_of_agreements_anew():
    trust = Trust()
    for _ in range(MAX_CONTRADICTIONS):
        trust.contradicted(b"t")
    for _ in range(CONFIRMATIONS_TO_FORGIVE - 1):
        trust.agreed(b"t")
    trust.contradicted(b"t")
    for _ in range(CONFIRMATIONS_TO_FORGIVE - 1):
        trust.agreed(b"t")
    assert not trust.trusts_growth(b"t")
    trust.agreed(b"t")
    assert trust.trusts_growth(b"t")


def test_an_answer_is_believed_until_one_breaks_and_confirmed_only_once_one_has_joined():
    untried, joined, broken = judged(), judged(True), judged(False)
    assert [trust.answers(b"t", PLAIN).is_believed for trust in (untried, joined, broken)] == [True, True, False]
    assert [trust.answers(b"t", PLAIN).has_joined for trust in (untried, joined, broken)] == [False, True, False]
    assert broken.answers(b"t", CALLS).is_believed
    assert broken.answers(b"u", PLAIN).is_believed


def test_one_that_breaks_now_and_then_is_still_believed_and_one_that_has_changed_is_soon_found_out():
    fates = ([True] * JOINED_PER_BREAK + [False]) * 5
    assert judged(*fates).answers(b"t", PLAIN).is_believed
    breaks = [False] * (MAX_BALANCE // JOINED_PER_BREAK + 1)
    assert not judged(*[True] * 1000, *breaks).answers(b"t", PLAIN).is_believed
    assert judged(*[False] * 1000, *[True] * JOINED_PER_BREAK).answers(b"t", PLAIN).is_believed


def test_the_templates_remembered_are_bounded_and_those_judged_last_are_kept():
    trust = Trust()
    for _ in range(MAX_CONTRADICTIONS):
        trust.contradicted(b"first")
    for number in range(MAX_TEMPLATES - 1):
        trust.judge_answer(b"%d" % number, PLAIN, has_joined=True)
    assert not trust.trusts_growth(b"first")
    trust.contradicted(b"one more")
    assert trust.trusts_growth(b"first")
    trust.clear()
    assert trust.num_whole_only == 0
