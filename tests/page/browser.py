"""A real Chromium without a window, driven over its own protocol; waiting is the page's, by its frames, and bounded."""

import asyncio
import base64
import contextlib
import itertools
import os
import tempfile

import aiohttp

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)
START_S = 60
LIMIT_S = 30
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}

UNTIL = """new Promise((done, failed) => {
  const last = performance.now() + %d;
  const look = () => {
    let found;
    try { found = (() => %s)(); } catch (error) { found = null; }
    if (found) done(true);
    else if (performance.now() > last) failed(new Error("it never came; the page says: " + document.body.innerText));
    else requestAnimationFrame(look);
  };
  look();
})"""


COUNT_TIMERS = """(() => {
  const [set, clear] = [setTimeout, clearTimeout];
  window.pending = new Set();
  window.setTimeout = (run, delay) => {
    const timer = set(() => { pending.delete(timer); run(); }, delay);
    pending.add(timer);
    return timer;
  };
  window.clearTimeout = (timer) => { pending.delete(timer); clear(timer); };
})()"""
"""A script by which a page knows in `pending` what it waits for."""


class PageError(Exception):
    """The page threw, or the browser refused."""


class Page:
    """One tab; `errors` holds what its scripts and its log complained of, `requested` all that it asked for."""

    def __init__(self, session, socket):
        self._session = session
        self._socket = socket
        self._numbers = itertools.count(1000)
        self._waiting = {}
        self.errors = []
        self.requested = []
        self._reading = asyncio.create_task(self._read())

    async def close(self):
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._socket.close()

    async def do(self, method, **params):
        """Send one command; returns its result."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params, "sessionId": self._session})
        async with asyncio.timeout(LIMIT_S + 10):
            answer = await self._waiting[number]
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']}")
        return answer["result"]

    async def js(self, expression):
        """The value of an expression, awaited where it is a promise."""
        result = await self.do("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise PageError(result["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        return result["result"].get("value")

    async def until(self, condition):
        """Wait until an expression of the page is true."""
        await self.js(UNTIL % (LIMIT_S * 1000, condition))

    async def open(self, url):
        await self.do("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def size(self, width, height=900):
        await self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    async def dress(self, scheme):
        await self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def press(self, key):
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key], **text)

    async def place(self, selector):
        """The middle of an element, scrolled into view."""
        return await self.js(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )

    async def point(self, selector, kind="mouseMoved", **more):
        x, y = await self.place(selector)
        await self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    async def click(self, selector):
        for kind in ("mousePressed", "mouseReleased"):
            await self.point(selector, kind, button="left", clickCount=1)

    async def text(self, selector="body"):
        return await self.js(f"document.querySelector({selector!r}).innerText")

    async def picture(self, *, whole=True):
        """What it looks like, as PNG."""
        size = await self.js("[innerWidth, Math.max(innerHeight, document.documentElement.scrollHeight)]")
        clip = {"clip": {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}} if whole else {}
        shot = await self.do("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)
        return base64.b64decode(shot["data"])

    async def _read(self):
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                self.errors.append(str(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.errors.append(said["params"]["entry"]["text"])
            elif said["method"] == "Network.requestWillBeSent":
                self.requested.append(said["params"]["request"]["url"])


@contextlib.asynccontextmanager
async def browsing(program):
    """Start `program` with an empty profile; gives a function that opens tabs. It is ended by its process id on leaving."""
    async with contextlib.AsyncExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(prefix="turnwise-page-", ignore_cleanup_errors=True))
        process = await asyncio.create_subprocess_exec(
            program,
            *ARGUMENTS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": profile},
        )
        stack.push_async_callback(_ended, process)
        url = await asyncio.wait_for(_announced(process.stderr), START_S)
        reading = asyncio.create_task(process.stderr.read())
        stack.push_async_callback(_cancelled, reading)
        http = await stack.enter_async_context(aiohttp.ClientSession())

        async def tab():
            socket = await http.ws_connect(url, max_msg_size=0)
            target = await _asked(socket, 1, "Target.createTarget", url="about:blank", newWindow=True)
            session = await _asked(socket, 2, "Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page = Page(session["sessionId"], socket)
            stack.push_async_callback(page.close)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.do(f"{domain}.enable")
            await page.size(1440)
            return page

        yield tab


async def _asked(socket, number, method, **params):
    await socket.send_json({"id": number, "method": method, "params": params})
    while (said := await socket.receive_json(timeout=LIMIT_S)).get("id") != number:
        pass
    return said["result"]


async def _announced(errors):
    """The address at which the browser says that it listens."""
    said = []
    async for line in errors:
        text = line.decode(errors="replace").strip()
        if text.startswith("DevTools listening on "):
            return text.removeprefix("DevTools listening on ")
        said.append(text)
    raise PageError("Chromium did not start:\n" + "\n".join(said[-20:]))


async def _ended(process):
    if process.returncode is None:
        process.terminate()
    await process.wait()


async def _cancelled(task):
    task.cancel()
    await asyncio.wait([task])
