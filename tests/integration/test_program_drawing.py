"""What `turnwise programs` and `turnwise program ID` draw, in several widths, in colour and without."""

import io
from datetime import datetime

import msgspec
import pytest
from rich.console import Console
from tests.integration.admin_port import WALL
from tests.page.stories import NOW, Story, Told, several

from turnwise.events import ToolEvent, ToolHow, ToolStep
from turnwise.proxy.admin.program_page import GraphPage, Held, HeldPrompt, program_page
from turnwise.proxy.programs.pauses import Left, Source
from turnwise.proxy.programs.values import Outcome, Running, ToolRun, Waiting
from turnwise.proxy.watch import programs as listing
from turnwise.proxy.watch import report
from turnwise.settings import Settings
from turnwise.types import CallId, HitSource, ReplicaId


def page(told=None, graph=None, waits=(), voided=()):
    told = told or Told("migrate-config", 940.0, session="s-39", outcome=Outcome.ANSWERED)
    return program_page(
        told.summary, told.key, told.calls, graph or GraphPage(), Settings(), NOW, WALL, waits=waits, voided=voided
    )


def printed(renderable, width, **options):
    console = Console(width=width, file=io.StringIO(), **options)
    console.print(renderable)
    return console.file.getvalue()


ROWS = """\
▸ call 1                  1.34 s  PPPDDDD                                ┊
  list_dir()              175 ms         t┄┄                             ┊
▸ read_file()             555 ms         TTT                             ┊
▸ call 2                  978 ms            DDDDD                        ┊
    researcher 1, call 1  618 ms                 pdd                     ┊
    grep()                142 ms                    t                    ┊
    researcher 1, call 2  558 ms                     ddd┄┄┄┄┄┄┄┄┄┄       ┊
▸   researcher 2, call 1  868 ms                 PPDD                    ┊
▸   bash()                1.14 s                     WTTTTT              ┊
▸   researcher 2, call 2  1.24 s                           NPDDDD        ┊
    reviewer 3, call 1    1.21 s                 ppdddd┄┄┄┄┄┄┄┄┄┄┄       ┊
▸ call 3                  1.11 s                                  PDDDD  ┊
▸ write_file()            270 ms                                       TT┊
▸ call 4                  1.43 s                                         DDDDDDD"""


def lines_of(text):
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("width", [72, 92, 140])
def test_a_waterfall_has_a_row_a_call_and_tool_as_wide_as_the_terminal_is(width):
    lines = lines_of(printed(report.shown(page()), width))
    assert all(len(line) <= width for line in lines)
    rows = [line for line in lines if line[2:].lstrip().startswith(("call", "researcher", "reviewer")) or "()" in line]
    assert len(rows) == 14
    marked = [row[2:].split("  ")[0].strip() for row in rows if row.startswith("▸") and not row.startswith("▸  ")]
    assert marked == ["call 1", "read_file()", "call 2", "call 3", "write_file()", "call 4"]
    assert sum("▸" in row for row in rows) == 9
    header = lines[next(number for number, line in enumerate(lines) if "FTR" in line and "▼" in line)]
    assert header.index("▼") == rows[0].index("┊")
    assert any(line.startswith("prefill") and "1.5" in line for line in lines)


def test_each_cell_says_what_most_of_its_time_went_to():
    text = "\n".join(lines_of(printed(report.shown(page()), 80)))
    assert ROWS in text


def test_without_colour_letters_say_the_cause_and_large_ones_the_path():
    text = printed(report.shown(page()), 140)
    assert "P=prefill" in text
    assert "PPPP" in text
    assert "pppp" in text
    assert "\x1b" not in text
    assert "█" not in "".join(line for line in text.splitlines() if line.startswith("▸"))


def test_in_colour_full_cells_are_the_path():
    text = printed(report.shown(page()), 140, force_terminal=True, color_system="truecolor", no_color=False)
    row = next(line for line in text.splitlines() if "call 4" in line)
    assert "█" in row
    assert "\x1b[32m" in row
    assert "▒" in next(line for line in text.splitlines() if "reviewer" in line)
    assert "P=prefill" not in text


def test_no_color_is_obeyed_though_it_is_a_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(report.shown(page()), 100, force_terminal=True)
    assert "PPPP" in text
    assert "\x1b[3" not in text


def test_short_gaps_have_lines_where_they_are_asked_for():
    short = printed(report.shown(page()), 120)
    every = printed(report.shown(page(), with_gaps=True), 120)
    assert "7 gaps have no line" in short
    assert "(join wait)" not in short
    assert "(join wait)" in every
    assert len(every.splitlines()) == len(short.splitlines()) + 6


def test_the_causes_of_the_path_are_told_with_their_shares_and_sum_to_the_makespan():
    text = printed(report.shown(page()), 100)
    causes = {line.split("  ")[0]: line for line in lines_of(text)}
    assert causes["decode"].split()[1:4] == ["5.25", "s", "58%"]
    assert causes["tool run"].split()[2:5] == ["1.86", "s", "20%"]
    assert lines_of(text)[-1].strip() == "9.13 s"


def test_who_holds_the_prompts_is_told():
    held = {ReplicaId("gpu-a"): Held(12_000, HitSource.CONFIRMED), ReplicaId("gpu-b"): Held(0, HitSource.NONE)}
    graph = GraphPage(held=(HeldPrompt(0, 19_400, held), HeldPrompt(2, 800, {})))
    lines = lines_of(printed(report.shown(page(graph=graph)), 100))
    assert "main conversation: 19.4k tokens, held by gpu-a 12.0k (confirmed)" in lines
    assert "conversation 2: 800 tokens, held by nobody" in lines


def test_a_program_of_which_no_call_has_ended_says_so():
    told = Told("young", NOW - 1, calls=())
    assert "no call of it has ended yet" in printed(report.shown(page(told)), 80)


def test_a_row_that_failed_says_so_in_words_and_with_a_mark():
    story = Story(940.0)
    story.call("a", 0, 0.1, 0.2, reason="upstream_timeout", status=504)
    story.call("b", 0.6, 0.1, 0.2, ("retry", "a"), tools=("ls",))
    story.call("c", 2.0, 0.1, 0.2, ("continue", "b"), runs=[("b", 0, "ls", 1.0, 2.0, {"is_ok": False})])
    text = printed(report.shown(page(Told("", 940.0, calls=tuple(story.calls)))), 120)
    marked = [line.split("  ")[0] for line in text.splitlines() if line[1:2] == "✗"]
    assert marked == ["▸✗call 1: upstream_timeout", "▸✗ls(): failed"]
    assert "✗ failed" in text
    assert "✗" not in printed(report.shown(page()), 120)


@pytest.mark.parametrize("count", [0, 1])
def test_a_call_that_runs_has_a_row_up_to_now(count):
    told = Told("", 1_005.0, count, running=1)
    running = Running(CallId("c"), 1, "scout", 0, 1_007.0)
    made = program_page(told.summary, told.key, told.calls, GraphPage(), Settings(), NOW, WALL, (running,))
    row = next(row for row in made.rows if row.is_running)
    assert (row.start_s, row.end_s, row.on_path, row.bars[0].detail) == (2.0, 5.0, False, "running")
    assert "scout 1, call 1, running" in printed(report.shown(made), 100)


def test_one_of_a_kind_is_no_plural_and_the_time_of_day_is_told():
    story = Story(940.0)
    story.call("a", 0, 0.1, 0.2, tools=("ls",))
    text = printed(report.shown(page(Told("", 940.0, calls=tuple(story.calls)))), 140)
    assert "1 call · 1 tool call · 1 agent ·" in text
    assert f"began {datetime.fromtimestamp(WALL - 70).astimezone():%Y-%m-%d %H:%M:%S}, 1 min 10 s ago" in text


def test_a_call_of_which_the_engine_did_not_say_what_was_cached_is_not_in_the_share():
    story = Story(940.0)
    story.call("a", 0, 0.1, 0.2, prompt=(1_000, 0.5))
    story.call("b", 1, 0.1, 0.2, prompt=(9_000, 0.0), cached_tokens=None)
    told = Told("", 940.0, calls=tuple(story.calls))
    assert "10.0k prompt tokens, 50% cached" in printed(report.shown(page(told)), 140)
    assert "50%" in printed(listing.shown([told.summary]), 140)


def test_what_clients_chose_cannot_command_the_terminal():
    evil = "\x1b]0;owned\x07\x1b[2J\u202eevil"
    story = Story(900.0)
    story.call("a", 0, 0.1, 0.2, tools=(evil,), agent=(1, evil), model=evil)
    story.call("b", 0.6, 0.1, 0.2, ("continue", "a"), runs=[("a", 0, evil, 0.4, 0.6)])
    told = Told(evil, 900.0, session=evil, calls=tuple(story.calls))
    told.summary = msgspec.structs.replace(told.summary, model=evil)
    for text in (printed(report.shown(page(told)), 120), printed(listing.shown([told.summary]), 120)):
        assert "evil" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


@pytest.mark.parametrize("width", [64, 140])
def test_the_list_fits_its_width_and_tells_what_each_is_doing(width):
    lines = lines_of(printed(listing.shown(several().listing(NOW)), width))
    assert all(len(line) <= width for line in lines)
    words = [line[:9].strip() for line in lines[1:7]]
    assert words == ["running", "in tools", "answered", "quiet", "timed out", "ended"]
    assert "nightly-review" in lines[1]
    assert "5+2" in lines[1]
    assert ("2 (2 open)" in lines[2]) == (width == 140)
    assert lines[-1] == "3 live, 3 ended; turnwise program ID shows one"


@pytest.mark.parametrize("width", [80, 140])
def test_how_a_tool_run_came_about_has_a_column_of_its_own(width):
    long = "a_server_with_a_long_name__look"
    story = Story(940.0)
    story.call("a", 0.0, 0.1, 1.0, tools=(long, "find"))
    early = {"is_inferred": False, "how": ToolHow.EARLY, "claimed_at": 941.5}
    story.call("b", 2.5, 0.1, 1.0, ("continue", "a"), runs=[("a", 0, long, 0.5, 2.0, early), ("a", 1, "find", 1.1, 2.0)])
    void = ToolRun("void", "fetch\x1b", CallId("a"), 940.25, 940.75, is_inferred=False, is_ok=False)
    made = page(Told("", 940.0, calls=tuple(story.calls)), voided=(void,))
    lines = printed(report.shown(made), width).splitlines()
    (joined,) = [line for line in lines if "a_server_with_a" in line]
    assert "  early, joined  " in joined
    assert any("find()                         " in line for line in lines)
    assert any("fetch\N{REPLACEMENT CHARACTER}()" in line and "  void           " in line for line in lines)
    (heading,) = [line for line in lines if " time  " in line]
    assert heading.index("run") == joined.index("early")
    assert [row.id for row in made.rows if "void" in row.marks] == ["a/void/void"]


def test_tools_that_are_waited_for_say_how_far_they_are_and_how_long_they_will_take():
    told = ToolEvent("c", NOW - 1, NOW - 1, NOW - 1, how=ToolHow.EARLY, step=ToolStep.STARTED, remaining_s=2.5)
    held = msgspec.structs.replace(told, step=ToolStep.FINISHED)
    claimed = msgspec.structs.replace(held, claimed_at=NOW - 0.5)
    waits = (
        (Waiting("c", "look", 0, 10, NOW - 1.25, told), Left(2.5, Source.MEASURED)),
        (Waiting("d", "find", 0, 10, NOW - 0.5), Left(0.25, Source.INFERRED)),
        (Waiting("e", "fetch\x1b", 0, 10, NOW - 0.5), None),
        (Waiting("f", "scan", 0, 10, NOW - 0.25, held), Left(0.0, Source.MEASURED)),
        (Waiting("g", "scan", 0, 10, NOW - 0.25, claimed), Left(0.0, Source.MEASURED)),
    )
    waiting = Told("", 940.0, waiting=5)
    made = page(waiting, waits=waits)
    assert made.program.remaining_s == 2.5
    lines = lines_of(printed(report.shown(made), 140))
    assert [line for line in lines if line.startswith("waiting for")] == [
        "waiting for look(): 1.25 s, started, early, about 2.50 s left (measured)",
        "waiting for find(): 500 ms, about 250 ms left (inferred)",
        "waiting for fetch\N{REPLACEMENT CHARACTER}(): 500 ms",
        "waiting for scan(): 250 ms, its result is held for the agent, about 0 ms left (measured)",
        "waiting for scan(): 250 ms, finished, early, about 0 ms left (measured)",
    ]
    waiting.waits = waits
    assert "2.50 s" in printed(listing.shown([made.program]), 160)


def test_an_empty_list_says_what_to_do():
    assert "base_url" in printed(listing.shown([]), 80)
