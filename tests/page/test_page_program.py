"""One program on the web page in a real Chromium: its waterfall, its rows, and how it is reached and looked at."""

import itertools
import re

import msgspec
import pytest
from tests.page.looking import LINES, listed, opened, pictured
from tests.page.stories import HOSTILE, NOW, Story, Told, ToldPrograms, several

from turnwise.events import ToolEvent, ToolHow, ToolStep
from turnwise.proxy.programs.pauses import Left, Source
from turnwise.proxy.programs.values import Outcome, Running, ToolRun, Waiting
from turnwise.types import CallId

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

FOCUSED = "document.activeElement"
TIMES = (
    "[...document.querySelectorAll('.ruler span')]"
    ".map((time) => time.getBoundingClientRect()).map(({ left, right }) => [left, right])"
)
"""Where the times of the axis stand, from left to right."""


async def test_a_program_opens_as_a_waterfall_with_its_critical_path(page, port):
    await listed(page, port)
    await page.click(".programs tbody tr:nth-child(3) .open")
    await page.until(f"{LINES} === 14")
    names = await page.js(
        "[...document.querySelectorAll('.row')].map((row) => [row.ariaLevel, row.querySelector('.label').innerText])"
    )
    assert names[:5] == [["1", "call 1"], ["1", "list_dir"], ["1", "read_file"], ["1", "call 2"], ["2", "researcher 1, call 1"]]
    critical = await page.js("[...document.querySelectorAll('.row.critical .label')].map((label) => label.innerText)")
    assert critical == [
        "call 1",
        "read_file",
        "call 2",
        "researcher 2, call 1",
        "bash",
        "researcher 2, call 2",
        "call 3",
        "write_file",
        "call 4",
    ]
    assert "FTR 7.78 s" in await page.text(".marker")
    tiles = await page.text(".tiles")
    assert "9.13 s" in tiles
    assert re.search(r"Decode\s*5\.25 s\s*58%", await page.text(".ledger .legend"))
    for width, scheme in ((1440, "light"), (1440, "dark"), (760, "light")):
        await page.size(width)
        await page.dress(scheme)
        assert await page.js("document.documentElement.scrollWidth <= innerWidth")
        await pictured(page, f"program-{width}-{scheme}")


@pytest.mark.parametrize("width", [420, 760, 1440])
async def test_the_times_of_the_axis_do_not_overlap(page, port, width):
    await page.size(width)
    await opened(page, await port(several()))
    found = await page.js(TIMES)
    assert len(found) >= 2
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(found))


async def test_the_times_of_the_axis_find_room_when_it_is_resized_while_no_answer_comes(page, port):
    apart = f"{TIMES}.every(([, right], at, all) => at + 1 === all.length || right <= all[at + 1][0])"
    have_room = f"{TIMES}.length >= 2 && {apart}"
    await opened(page, await port(several()))
    await page.click("#pause")
    num_times = await page.js(f"{TIMES}.length")
    await page.size(420)
    await pictured(page, "resized")
    await page.until(have_room)
    await page.size(1440)
    await page.until(f"{TIMES}.length === {num_times}")
    await page.click(".row")
    await page.until(f"!document.querySelector('.details').hidden && {have_room}")
    await page.press("Escape")
    await page.until(f"{TIMES}.length === {num_times} && {apart}")


async def test_a_call_that_runs_is_seen_in_time(page, port):
    told = several()
    next(iter(told.told.values())).running = (Running(CallId("c-9"), 0, "", 2, NOW - 1),)
    await opened(page, await port(told), "nightly-review")
    await page.until("[...document.querySelectorAll('.row .label')].some((label) => label.innerText === 'call 3, running')")


async def test_a_tool_run_says_that_its_agent_joined_it_and_when(page, port):
    story = Story(900.0)
    story.call("a", 0.0, 0.1, 1.0, tools=("look", "find"))
    held = {"is_inferred": False, "how": ToolHow.EARLY, "claimed_at": 901.25, "saved_s": 0.5, "predicted_s": 0.4}
    runs = [("a", 0, "look", 0.5, 1.0, held), ("a", 1, "find", 1.125, 2.0)]
    story.call("b", 2.5, 0.1, 1.0, ("continue", "a"), runs=runs)
    program = Told("early", 900.0, calls=tuple(story.calls))
    unasked = ToolRun("x", "scan", CallId("a"), 900.25, 900.75, is_inferred=False, how=ToolHow.EARLY, is_expired=True)
    program.voided = (unasked,)
    await opened(page, await port(ToldPrograms(program)), "early")
    names = await page.js("[...document.querySelectorAll('.row .label')].map((label) => label.innerText)")
    assert names == ["call 1", "scan, expired", "look, early, joined", "find", "Client", "call 2"]
    await page.click('.row[data-id="a/a-0"]')
    await page.until("!document.querySelector('.details').hidden")
    details = await page.text(".details")
    assert "look, early, joined" in details
    for fact, value in (
        ("Expected", "400 ms"),
        ("While the model wrote", "500 ms"),
        ("Agent asked at", "1.25 s"),
        ("Held for the agent", "250 ms"),
        ("Times", "measured by the tools gateway"),
    ):
        assert re.search(rf"{fact}\s*{value}", details), fact
    await pictured(page, "joined", whole=False)


async def test_tool_calls_that_wait_say_how_far_they_are_and_how_long_yet(page, port):
    told = several()
    program = next(one for one in told.told.values() if one.key.name == "fix-flaky-test")
    started = ToolEvent("c", NOW - 1, NOW - 1, NOW - 1, how=ToolHow.EARLY, step=ToolStep.STARTED, remaining_s=2.5)
    held = msgspec.structs.replace(started, step=ToolStep.FINISHED)
    program.waits = (
        (Waiting("c", HOSTILE, 0, 10, NOW - 1.25, started), Left(2.5, Source.MEASURED)),
        (Waiting("d", "find", 0, 10, NOW - 0.5), Left(0.25, Source.INFERRED)),
        (Waiting("e", "scan", 0, 10, NOW - 0.5, held), None),
    )
    shown = await port(told)
    await opened(page, shown, "fix-flaky-test")
    assert (await page.js("[...document.querySelectorAll('.waits li')].map((wait) => wait.innerText)")) == [
        f"Waiting for {HOSTILE}: 1.25 s, started, early, about 2.50 s left",
        "Waiting for find: 500 ms, about 250 ms left",
        "Waiting for scan: 500 ms, its result is held for the agent",
    ]
    await pictured(page, "waiting")
    program.waits = ()
    await page.until("document.querySelector('.waits').hidden")
    assert await page.js("document.querySelectorAll('main img, main script').length") == 0


async def test_bars_stand_where_their_time_is_and_the_path_has_no_holes(page, port):
    await opened(page, await port(several()))
    boxes = await page.js("""(() => {
      const field = document.querySelector('.track').getBoundingClientRect();
      return [...document.querySelectorAll('.row')].map((row) => {
        const bar = row.querySelector('.bar').getBoundingClientRect();
        return [row.dataset.id, (bar.left - field.left) / field.width, (bar.right - field.left) / field.width];
      });
    })()""")
    rows = (await told(page))["rows"]
    makespan_s = (await told(page))["ledger"]["makespan_s"]
    by_id = {row["id"]: row for row in rows}
    for name, left, right in boxes:
        assert left == pytest.approx(by_id[name]["start_s"] / makespan_s, abs=0.003)
        assert right == pytest.approx(by_id[name]["end_s"] / makespan_s, abs=0.005)
    await page.click(".switch")  # the short gaps
    await page.until(f"{LINES} === {len(rows)}")
    path = await page.js("""(() => {
      const field = document.querySelector('.track').getBoundingClientRect();
      return [...document.querySelectorAll('.on-path')].map((part) => {
        const box = part.getBoundingClientRect();
        return [(box.left - field.left) / field.width, (box.right - field.left) / field.width];
      }).sort((one, other) => one[0] - other[0]);
    })()""")
    until = 0.0
    for left, right in path:
        assert left <= until + 0.002
        until = max(until, right)
    assert until == pytest.approx(1.0, abs=0.005)


async def told(page):
    return await page.js("fetch('programs/migrate-config').then((answer) => answer.json())")


async def test_hovering_tells_what_a_row_went_to_and_choosing_it_tells_all(page, port):
    await opened(page, await port(several()))
    await page.point('.row[data-id="s2-b"] .bar')
    await page.until("!document.querySelector('.tip').hidden")
    tip = await page.text(".tip")
    assert "researcher 2, call 2" in tip
    assert "Connect" in tip
    assert "On the critical path" in tip
    await page.click('.row[data-id="s3-a"]')
    await page.until("!document.querySelector('.details').hidden")
    details = await page.text(".details")
    assert "2.12 s slower would have delayed nobody" in details
    assert "Prefill, queued" in details
    assert "was spawned by call 2" in details
    await pictured(page, "details", whole=False)
    await page.click(".near .link")
    await page.until("document.querySelector('.details h3').innerText === 'call 2'")


async def test_all_of_it_can_be_reached_by_keyboard(page, port):
    await listed(page, port)
    await page.js("document.querySelector('.programs tbody tr:nth-child(3) .open').focus()")
    await page.press("Enter")
    await page.until(f"{LINES} === 14")
    await page.js("document.querySelector('.row').focus()")
    for _ in range(3):
        await page.press("ArrowDown")
    assert await page.js(f"{FOCUSED}.dataset.id") == "read"
    await page.press("ArrowLeft")
    await page.until(f"{LINES} === 7")
    assert await page.js(f"{FOCUSED}.dataset.id") == "read"
    await page.press("ArrowRight")
    await page.until(f"{LINES} === 14")
    await page.press("Enter")
    await page.until("!document.querySelector('.details').hidden")
    assert await page.js(f"{FOCUSED}.ariaSelected") == "true"
    await page.press("Escape")
    await page.until("document.querySelector('.details').hidden")
    await page.js("document.querySelector('#tab-timeline').focus()")
    await page.press("ArrowRight")
    assert await page.js(f"{FOCUSED}.id") == "tab-prompts"
    assert await page.js("!document.querySelector('#panel-prompts').hidden")


async def test_a_stretch_of_time_can_be_looked_at_closer(page, port):
    await opened(page, await port(several()))
    box = await page.js(
        "(() => { const b = document.querySelector('.map').getBoundingClientRect(); return [b.x, b.y, b.width]; })()"
    )
    for kind, share in (("mousePressed", 0.3), ("mouseMoved", 0.4), ("mouseMoved", 0.5), ("mouseReleased", 0.5)):
        place = {"x": box[0] + share * box[2], "y": box[1] + 10}
        await page.do("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **place)
    await page.until("!document.querySelector('.lens').hidden")
    assert await page.js("document.querySelectorAll('.row .bar').length < document.querySelectorAll('.row').length")
    await page.js("[...document.querySelectorAll('button')].find((button) => button.innerText === 'Show all time').click()")
    await page.until("document.querySelector('.lens').hidden")


async def test_live_programs_change_before_the_eyes(page, port):
    shown = await port(several())
    await page.open(f"{shown.url}#/program/nightly-review")
    await page.until(f"{LINES} > 3")
    told_now = shown.programs.told
    name = next(iter(told_now))
    told_now[name] = Told("nightly-review", 1_005.0, 9, session="s-41", outcome=Outcome.ANSWERED)
    await page.until("document.querySelector('h1 + .state').innerText === 'answered'")
    await page.until(f"{LINES} === 14")
