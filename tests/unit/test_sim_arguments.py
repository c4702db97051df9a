import argparse
from pathlib import Path

from turnwise.engines.sim import SimOptions, add_arguments
from turnwise.engines.sim.template import TEMPLATE_STYLES

PAGE = (Path(__file__).parents[2] / "docs" / "sim.md").read_text()


def actions():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return [action for action in parser._actions if action.dest != "help"]


def test_every_option_has_a_flag_with_its_default():
    defaults = {action.dest: action.default for action in actions()}
    options = SimOptions()
    assert set(defaults) == set(SimOptions.__struct_fields__) - {"wall_epoch_s"}
    assert {name: getattr(options, name) for name in defaults} == {**defaults, "loras": (), "port": 0}


def test_every_flag_says_what_it_does_and_is_on_the_page():
    for action in actions():
        assert action.help
        assert f"`{action.option_strings[0]}`" in PAGE, action.option_strings


def test_every_template_is_on_the_page():
    assert [style for style in TEMPLATE_STYLES if f"`{style}`" not in PAGE] == []
