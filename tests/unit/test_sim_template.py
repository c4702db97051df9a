import random

import pytest

from turnwise.engines.sim.bodies import CalledFunction, Message, ToolCall
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.script import Limits, ToolRequest, write_after_thought
from turnwise.engines.sim.template import TEMPLATE_STYLES, Template, render_chat
from turnwise.engines.sim.tokens import encode

SYSTEM = Message("system", "Be brief.")
TOOLS = ({"type": "function", "function": {"name": "grep", "parameters": {"type": "object"}}},)
ASKED = [SYSTEM, Message("user", "one"), Message("assistant", "first", reasoning="hm"), Message("user", "two")]
CHEAP = Limits(max_tokens=500)


def render(messages, style, tools=TOOLS, **changes):
    return render_chat(messages, tools, Template(style, **changes))


def extends(style, messages, later, tools=TOOLS):
    """Whether the prompt of a later turn begins with that of an earlier one, but for the header of the answer."""
    return render(later, style, tools).startswith(render(messages, style, tools).removesuffix("<|im_start|>assistant\n"))


@pytest.mark.parametrize("style", TEMPLATE_STYLES)
def test_every_style_renders_all_that_was_said(style):
    text = render(ASKED, style)
    for said in ("Be brief.", "one", "first", "two", '"name":"grep"'):
        assert text.count(said) == 1
    assert text.endswith("<|im_start|>assistant\n")


def test_a_plain_conversation_extends_its_tokens():
    assert extends("plain", ASKED, [*ASKED, Message("assistant", "second"), Message("user", "three ")])


def test_dropped_reasoning_takes_back_what_an_earlier_prompt_said():
    later = [*ASKED, Message("assistant", "second", reasoning="well"), Message("user", "three")]
    assert "hm" in render(ASKED, "drops_reasoning")
    assert "hm" not in render(later, "drops_reasoning")
    assert "well" in render(later, "drops_reasoning")
    assert not extends("drops_reasoning", ASKED, later)


def test_a_date_changes_the_head_when_the_day_does_and_not_before():
    template = Template("dated", day_s=60.0)
    days = [render_chat(ASKED, (), template, now) for now in (0.0, 59.9, 60.0)]
    assert days[0] == days[1]
    assert days[1] != days[2]
    assert days[0].startswith("<|im_start|>system\nToday is day 0.")


def test_tools_stand_where_the_style_says():
    def order(style):
        text = render(ASKED, style)
        return sorted(("Be brief.", "# Tools", "one", "first", "two"), key=text.index)

    assert order("plain") == order("dated") == order("tools_after_system") == ["Be brief.", "# Tools", "one", "first", "two"]
    assert order("tools_before_system") == ["# Tools", "Be brief.", "one", "first", "two"]
    assert order("tools_before_last_user") == ["Be brief.", "one", "first", "# Tools", "two"]
    assert render(ASKED, "plain") != render(ASKED, "tools_after_system")


def test_tools_before_the_last_user_move_with_every_turn():
    later = [*ASKED, Message("assistant", "second"), Message("user", "three")]
    assert not extends("tools_before_last_user", ASKED, later)
    assert extends("tools_before_last_user", ASKED, later, tools=())


def test_trimming_takes_the_space_around_a_turn_once_it_is_old():
    asked = [SYSTEM, Message("user", "one \n")]
    later = [*asked, Message("assistant", " first"), Message("user", "two")]
    assert "one \n<" in render(asked, "trims")
    assert "one<" in render(later, "trims")
    assert not extends("trims", asked, later)
    assert extends("trims", [SYSTEM, Message("user", "one")], later)


@pytest.mark.parametrize("calls", [(), (ToolRequest("grep", {"type": "object"}),)])
@pytest.mark.parametrize("seed", range(20))
def test_reasoning_sent_back_is_cut_into_the_tokens_that_were_generated(seed, calls):
    script = write_after_thought(random.Random(seed), calls, CHEAP)
    said = Message(
        "assistant",
        script.text or None,
        tool_calls=tuple(ToolCall(CalledFunction(call.name, call.arguments)) for call in script.calls),
        reasoning=script.reasoning,
    )
    asked = [Message("user", "hi")]
    taught = [*encode(render_chat(asked, ())), *(piece.token for piece in script.pieces)]
    later = encode(render_chat([*asked, said, Message("user", "and?")], ())).tolist()
    assert script.reasoning
    end = len(taught) - 2  # a full stop at the very end is joined to the mark that follows it
    assert later[:end] == taught[:end]


@pytest.mark.parametrize("max_tokens", [1, 5, 30])
def test_reasoning_counts_towards_the_longest_answer(max_tokens):
    script = write_after_thought(random.Random(3), (), Limits(max_tokens=max_tokens))
    assert len(script.pieces) == max_tokens
    assert script.finish_reason == "length"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"template": "fancy"}, "template"),
        ({"template_day_s": 0}, "template_day_s"),
        ({"template_day_s": float("nan")}, "template_day_s"),
        ({"reasoning_share": 1.1}, "reasoning_share"),
        ({"drop_batches": -0.1}, "drop_batches"),
        ({"nonsense_events": float("nan")}, "nonsense_events"),
        ({"offload_blocks": -1}, "offload_blocks"),
        ({"offload_tokens_per_s": 0.0}, "offload_tokens_per_s"),
        ({"event_buffer": -1}, "event_buffer"),
    ],
)
def test_an_option_that_cannot_be_is_named(changes, named):
    with pytest.raises(ValueError, match=named):
        SimOptions(**changes).resolve()
