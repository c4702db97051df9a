"""`turnwise programs` and `turnwise program ID` before a proxy, and before none."""

import asyncio
import socket

import msgspec
import pytest
from tests.integration.admin_port import admin
from tests.page.stories import NOW, Told, ToldPrograms, secrets, several

from turnwise.proxy.commands import main
from turnwise.proxy.programs.values import Outcome


@pytest.fixture
def asked(capsys):
    """Run a command against these programs; gives its status, output and complaint."""

    async def run(programs, *arguments):
        async with admin(programs) as http:
            status = await asyncio.to_thread(main, [*arguments, "--admin", str(http.base_url)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


async def test_the_commands_ask_the_admin_port(asked):
    status, out, err = await asked(several(), "programs", "--once")
    assert (status, err) == (0, "")
    assert "migrate-config" in out
    status, out, _ = await asked(several(), "programs", "--state", "live", "--limit", "2", "--json")
    assert [program["name"] for program in msgspec.json.decode(out)["programs"]] == ["nightly-review", "fix-flaky-test"]
    status, out, _ = await asked(several(), "program", "migrate-config")
    assert status == 0
    assert "write_file()" in out
    status, out, _ = await asked(several(), "program", "migrate-config", "--json")
    assert len(msgspec.json.decode(out)["calls"]) == 9


async def test_where_the_output_is_no_terminal_the_list_is_printed_once(asked):
    status, out, _ = await asked(several(), "programs")
    assert status == 0
    assert out.count("nightly-review") == 1


async def test_a_program_is_found_by_the_beginning_of_its_id(asked):
    programs = several()
    program = next(iter(programs.told))
    status, out, _ = await asked(programs, "program", program[:6])
    assert status == 0
    assert out.startswith("nightly-review")


async def test_a_program_is_ended_on_request(asked):
    programs = several()
    status, out, _ = await asked(programs, "program", "nightly-review", "--end")
    assert (status, out.split(": ")[1]) == (0, "asked, 5 calls\n")
    assert programs.listing(NOW)[0].outcome is Outcome.ASKED


async def test_a_program_of_another_tenant_by_the_same_name_is_not_ended(asked):
    programs = secrets()
    status, out, err = await asked(programs, "program", "secret", "--end")
    assert (status, out) == (1, "")
    assert all(f"{told.key.id} (tenant {told.key.tenant})" in err for told in programs.told.values())
    assert {row.outcome for row in programs.listing(NOW)} == {Outcome.OPEN}


async def test_an_unknown_program_names_the_closest(asked):
    status, _, err = await asked(several(), "program", "migrate-confg")
    assert status == 1
    assert "did you mean" in err
    assert "(migrate-config)" in err
    status, _, err = await asked(several(), "program", "nothing like it at all")
    assert status == 1
    assert "turnwise programs" in err
    both = ToldPrograms(Told("", 1.0, 1, session="x"), Told("", 2.0, 1, session="y"))
    for name, told in zip(("ab11", "ab22"), list(both.told.values()), strict=True):
        told.summary = msgspec.structs.replace(told.summary, id=name)
    status, _, err = await asked(both, "program", "ab")
    assert status == 1
    assert "several programs begin with `ab`" in err


@pytest.mark.parametrize("more", [(), ("--end",), ("--json",)])
async def test_an_empty_id_is_no_program(asked, more):
    status, out, err = await asked(several(), "program", "", *more)
    assert (status, out) == (1, "")
    assert "the empty id" in err


@pytest.mark.parametrize(
    "arguments", [["program", "x"], ["program", "x", "--end"], ["programs", "--once"], ["programs", "--watch"]]
)
def test_where_no_proxy_answers_it_says_so_and_what_to_check(capsys, arguments):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert main([*arguments, "--admin", url]) == 1
    said = capsys.readouterr().err
    assert f"no proxy answers at {url}: Connection refused; " in said
    assert "--admin" in said


async def test_what_the_proxy_refuses_is_said_as_it_says_it(asked):
    status, _, err = await asked(None, "programs", "--once")
    assert (status, "programs.enabled" in err) == (1, True)
    status, _, err = await asked(several(), "programs", "--limit", "-3")
    assert (status, "`limit` must be a whole number" in err) == (1, True)
