"""SVG by hand, so that nothing need be installed: words and bars on white."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

OURS, OTHERS, INK, FAINT, TAIL = "#1f6f8b", "#b8c4cc", "#22313a", "#6b7a83", "#dfe6ea"


def text(
    x: float, y: float, said: str, *, size: int = 12, anchor: str = "start", fill: str = INK, weight: str = "normal"
) -> str:
    """Words whose baseline begins, ends or has its middle at a point, in pixels."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}">'
        f"{escape(said)}</text>"
    )


def bar(x: float, y: float, width: float, fill: str, height: int = 20) -> str:
    """A bar to the right of a point, in pixels; it can be seen however short it is."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(1.0, width):.1f}" height="{height}" rx="2" fill="{fill}"/>'


def page(width: int, height: int, parts: Sequence[str]) -> str:
    """The whole file."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
