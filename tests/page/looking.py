"""What is looked for on the page, and how a program is opened.

With `TURNWISE_PICTURES` set to a folder, what each view looks like is left there.
"""

import os
from pathlib import Path

from tests.page.stories import several

ROWS = "document.querySelectorAll('.programs tbody tr').length"
LINES = "document.querySelectorAll('.row').length"


async def pictured(page, name, **options):
    if folder := os.environ.get("TURNWISE_PICTURES"):
        picture = await page.picture(**options)
        Path(folder, f"{name}.png").write_bytes(picture)  # noqa: ASYNC240 - only for people who look at pictures


async def listed(page, port):
    """Open the list of `several` programs; gives the admin port."""
    shown = await port(several())
    await page.open(shown.url)
    await page.until(f"{ROWS} === 6")
    return shown


async def opened(page, port, name="migrate-config"):
    await page.open(f"{port.url}#/program/{name}")
    await page.until(f"{LINES} > 0")
