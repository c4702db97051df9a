"""What an operator asks: whether the file can be used, and what the audit says."""

import argparse
import json

import pytest
from tests.unit.tools_place import Place
from tests.unit.tools_registry import ME, A, definition

from turnwise.errors import SettingsError
from turnwise.tools_gateway import cli
from turnwise.tools_gateway.values import Principal


@pytest.fixture
def place(tmp_path, capsys):
    place = Place(tmp_path, capsys)
    yield place
    place.audit.close()


def test_check_reads_the_files_and_says_what_is_unwise(place):
    assert place.turnwise("check") == (0, "2 upstreams, 0 tenants, 0 approved definitions: good\n")
    place.file.chmod(0o666)
    status, said = place.turnwise("check", "--set", "front.admin_host=0.0.0.0")
    assert status == 0
    assert "warning: front.admin_host: " in said
    assert "others may write it" in said
    assert said.endswith("good, 2 warnings\n")
    with pytest.raises(SettingsError, match=r"`front\.port`"):
        place.turnwise("check", "--set", "front.port=x")
    place.file.write_text(
        '[auth]\nissuer = "i"\naudience = "a"\njwks_file = "/absent"\n[[upstreams]]\nname = "a"\ncommand = ["/bin/sh"]'
    )
    with pytest.raises(SettingsError, match=r"`auth\.jwks_file`"):
        place.turnwise("check")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("front.socket=run/tools.sock", "warning: front.socket: run/tools.sock is another file for every folder"),
        ("front.socket=/" + "x" * 107, "warning: front.socket: has 108 bytes, and no socket has more than 107"),
    ],
)
def test_check_warns_of_what_is_not_there(place, override, said):
    status, told = place.turnwise("check", "--set", override)
    assert (status, said in told) == (0, True)


def test_check_warns_of_a_program_that_is_none(place):
    place.file.write_text(
        '[[upstreams]]\nname = "a"\ncommand = ["/absent/a"]\n[[upstreams]]\nname = "b"\ncommand = ["/etc/passwd"]'
    )
    told = place.turnwise("check")[1]
    assert "warning: upstreams[0].command: /absent/a is no program of this machine" in told
    assert "warning: upstreams[1].command: /etc/passwd is no program of this machine" in told


def test_check_refuses_what_serve_refuses(place):
    with pytest.raises(SettingsError, match=r"`trust\.state_dir`: .* cannot be written"):
        place.turnwise("check", "--set", f"trust.state_dir={place.file}/state")
    with pytest.raises(SettingsError, match=r"`front\.admin_port`: is 8090, the port of the MCP endpoint"):
        place.turnwise("check", "--set", "front.admin_port=8090")
    place.file.write_text("")
    with pytest.raises(SettingsError, match=r"no upstream is given: .*--config"):
        place.turnwise("check")


def test_the_audit_is_printed_for_people_and_verified(place):
    place.learn(A, [definition("x")])
    place.turnwise("approve", "a", "--yes")
    place.tools.refresh()
    (tool,) = place.tools.tools(ME)
    record = place.audit.decided(tool, Principal("t"), {"n": 1}, how="early")
    place.audit.ended(record, "success", None, 0.5, {"content": []})
    place.audit.refused("a__y", ME, "unknown_tool")
    place.audit.voided(record, "length")
    place.audit.relayed("prompts/get", A, "a__hello", ME, {"arguments": {"who": "me"}})
    status, said = place.turnwise("audit")
    assert status == 0
    assert '2 decided   a__x early for t {"n": 1}' in said
    assert "3 ended     of 2: success after 500 ms, 14 bytes" in said
    assert "4 refused   a__y: unknown_tool" in said
    assert "5 voided    of 2: length" in said
    assert '6 decided   prompts/get a__hello asked {"arguments": {"who": "me"}}' in said
    assert place.turnwise("audit", "--since", "1h") == (0, "")
    assert len(place.turnwise("audit", "--since", "1970-01-01T00:00")[1].splitlines()) == 6
    assert [json.loads(line)["n"] for line in place.turnwise("audit", "--json", "--tool", "a__x")[1].splitlines()] == [2, 3, 5]
    status, said = place.turnwise("audit", "--verify")
    assert (status, said.startswith("6 records from number 1 on: the chain holds; the last has the hash ")) == (0, True)
    file = place.state / "audit.jsonl"
    file.write_text(file.read_text().replace('"early"', '"asked"'))
    status, said = place.turnwise("audit", "--verify")
    assert status == 1
    assert "line 3 does not follow on record 2" in said
    assert "broken in 1 place" in said
    with pytest.raises(SettingsError, match="--since yesterday: write 30m"):
        place.turnwise("audit", "--since", "yesterday")


def test_commands_that_need_a_folder_say_so(place):
    place.file.write_text("")
    for command in ("approve", "audit"):
        with pytest.raises(SettingsError, match=r"`trust\.state_dir` is not given"):
            place.turnwise(command)
    assert place.turnwise("list")[0] == 0


def test_an_audit_in_which_nothing_is_says_so(place):
    nothing = f"no record is kept in {place.state} yet\n"
    assert place.turnwise("audit") == (0, nothing)
    assert place.turnwise("audit", "--verify") == (0, nothing)


def test_commands_without_the_operators_file_ask_for_it():
    parser = argparse.ArgumentParser()
    cli.add_commands(parser)
    for command in ("approve", "audit"):
        args = parser.parse_args([command])
        with pytest.raises(
            SettingsError, match=r"`trust\.state_dir` is not given, .*: name the operator's file with `--config`"
        ):
            args.run(args)
