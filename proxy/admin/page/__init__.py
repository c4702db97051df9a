"""The web page: a few static files that ask this port's JSON again and again; no build step, nothing from elsewhere.

What clients named themselves is put into it as text only, and the policy of its answers lets nothing but its own files run.
"""

from __future__ import annotations

from importlib import resources

from aiohttp import web

from turnwise.admin.answers import quoted, refused

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Of every file: only this port's own scripts and styles run, none of them can make markup of text, and nobody frames it."""


def routes() -> list[web.RouteDef]:
    """Make the routes of the page and its files."""
    files = {file.name: file.read_bytes() for file in resources.files(__package__).iterdir() if _kind(file.name) in TYPES}

    async def get_page(_: web.Request) -> web.Response:
        return _answer("index.html", files["index.html"])

    async def get_file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in files:
            raise refused(f"the page has no file `{quoted(name)}`", "name", status=404)
        return _answer(name, files[name])

    return [web.get("/", get_page), web.get("/ui/{name}", get_file)]


def _answer(name: str, body: bytes) -> web.Response:
    return web.Response(body=body, content_type=TYPES[_kind(name)], charset="utf-8", headers=HEADERS)


def _kind(name: str) -> str:
    return name.rpartition(".")[2]
