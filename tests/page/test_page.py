"""The web page in a real Chromium: what it shows of a fleet and its programs, and what it does when the proxy goes away."""

from urllib.parse import urlsplit

import httpx
import pytest
from tests.page.browser import COUNT_TIMERS
from tests.page.looking import LINES, ROWS, listed, opened, pictured
from tests.page.stories import HOSTILE, NOW, Story, Told, ToldPrograms, several

from turnwise.proxy.admin import page as web_page

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


async def test_an_empty_proxy_says_what_to_do(page, port):
    empty = await port(num_replicas=0)
    await page.open(empty.url)
    await page.until("document.querySelector('#pulse').dataset.state === 'live'")
    text = await page.text()
    assert "No replica is known" in text
    assert "No program yet" in text
    await pictured(page, "empty")


async def test_the_fleet_and_the_programs_are_listed(page, port):
    await listed(page, port)
    cards = await page.js("[...document.querySelectorAll('.card')].map((card) => card.innerText.split('\\n').slice(0, 2))")
    assert cards == [["gpu-a", "ready"], ["gpu-b", "ready"], ["gpu-c", "down"]]
    assert "events stale" in await page.text(".card:nth-child(2)")
    states = await page.js("[...document.querySelectorAll('tbody .state')].map((state) => state.innerText)")
    assert states == ["running", "in tools", "answered", "quiet", "timed out", "ended"]
    assert "5 + 2 running" in await page.text(".programs tbody tr")
    for width in (1440, 700):
        await page.size(width)
        assert await page.js("document.documentElement.scrollWidth <= innerWidth")
        await pictured(page, f"list-{width}")


async def test_the_list_can_be_searched_and_narrowed(page, port):
    await listed(page, port)
    await page.click(".choice button:nth-child(3)")
    await page.until(f"{ROWS} === 3")
    await page.js("document.querySelector('input').focus()")
    await page.do("Input.insertText", text="MIGRATE")
    await page.until(f"{ROWS} === 1")
    await page.do("Input.insertText", text=" no such")
    await page.until("document.querySelector('.programs').hidden")
    assert "No program fits" in await page.text()


async def test_what_clients_named_themselves_is_text(page, port):
    story = Story(900.0)
    hostile = {"agent": (1, HOSTILE), "model": HOSTILE}
    story.call("a", 0, 0.1, 0.2, tools=(HOSTILE,), **hostile)
    story.call("b", 0.6, 0.1, 0.2, ("continue", "a"), runs=[("a", 0, HOSTILE, 0.4, 0.6)], reason=HOSTILE, **hostile)
    shown = await port(ToldPrograms(Told(HOSTILE, 900.0, session=HOSTILE, calls=tuple(story.calls))))
    await page.open(shown.url)
    await page.until(f"{ROWS} === 1")
    assert await page.text(".programs .open") == HOSTILE
    await page.click(".programs .open")
    await page.until(f"{LINES} > 0")
    assert await page.text("h1") == HOSTILE
    await page.click(".row")
    await page.until("!document.querySelector('.details').hidden")
    await page.click("#tab-calls")
    assert HOSTILE in await page.text("#panel-calls")
    assert "owned" not in (await page.js("document.title")).replace(HOSTILE, "")
    assert await page.js("document.querySelectorAll('main img, main script').length") == 0


async def test_it_says_when_the_proxy_is_gone_keeps_what_it_showed_and_comes_back(page, port):
    shown = await port(several())
    await opened(page, shown)
    await shown.close()
    await page.until("document.querySelector('#pulse').dataset.state === 'lost'")
    assert "does not answer" in await page.text("#trouble")
    assert await page.js(LINES) == 14
    await pictured(page, "gone")
    await shown.open()
    await page.until("document.querySelector('#pulse').dataset.state === 'live'")
    assert await page.js("document.querySelector('#trouble').hidden")
    page.errors[:] = [error for error in page.errors if "ERR_CONNECTION_REFUSED" not in error]


async def test_an_unknown_program_is_said_to_be_so(page, port):
    shown = await port(several())
    await page.open(f"{shown.url}#/program/nobody")
    await page.until("document.querySelector('.program > .empty').innerText.includes('not known')")
    await pictured(page, "unknown")
    page.errors[:] = [error for error in page.errors if "404" not in error]


async def test_it_asks_nothing_while_it_is_paused_or_hidden(page, port):
    shown = await port(several())
    await page.do("Page.addScriptToEvaluateOnNewDocument", source=COUNT_TIMERS)
    await page.open(shown.url)
    await page.until(f"{ROWS} === 6 && pending.size === 1")
    await page.click("#pause")
    await page.until("pending.size === 0")
    await page.click("#pause")
    await page.until("pending.size === 1")
    hide = "Object.defineProperty(document, 'hidden', {{ value: {}, configurable: true }})"
    hide += "; document.dispatchEvent(new Event('visibilitychange'))"
    await page.js(hide.format("true"))
    assert await page.js("pending.size") == 0
    shown.programs.end(next(iter(shown.programs.told)), NOW)
    await page.js(hide.format("false"))
    await page.until("document.querySelector('tbody .state').innerText === 'ended'")


async def test_nothing_comes_from_elsewhere_and_nothing_else_may_run(page, port):
    shown = await port(several())
    await opened(page, shown)
    hosts = {urlsplit(url).netloc for url in page.requested}
    assert hosts == {urlsplit(shown.url).netloc}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(shown.url)
    assert answer.headers["content-security-policy"] == web_page.HEADERS["content-security-policy"]
    injected = await page.js("""new Promise((done) => {
      const script = document.createElement('script');
      document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
      try { script.text = 'document.title = "owned"'; document.body.append(script); } catch (error) { done(error.name); }
    })""")
    assert injected in {"script-src-elem", "require-trusted-types-for", "TypeError"}
    assert await page.js("document.title") != "owned"
    page.errors.clear()


async def test_it_is_dark_or_light_as_the_system_says_until_somebody_chooses(page, port):
    shown = await port(several())
    await page.open(shown.url)

    async def brightness():
        return await page.js("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")

    seen = {}
    for chosen in ("auto", "light", "dark"):
        await page.until(f"document.documentElement.dataset.theme === '{chosen}'")
        for scheme in ("light", "dark"):
            await page.dress(scheme)
            seen[chosen, scheme] = await brightness()
        await page.click("#theme")
    light, dark = seen["auto", "light"], seen["auto", "dark"]
    assert sum(light) > 600
    assert sum(dark) < 150
    assert [seen["light", "light"], seen["light", "dark"]] == [light] * 2
    assert [seen["dark", "light"], seen["dark", "dark"]] == [dark] * 2
