"""`turnwise lint`: what broke the prefixes of captured conversations, and what to do about it.

`reading` takes calls out of a capture as the proxy would read them; the linter (`turnwise.proxy.lint`) is the one that the
proxy runs; `report` prints what it found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from turnwise.proxy.lint import Followed, Linter, Step
from turnwise.proxy.lint_captures.reading import ApiName, read_calls
from turnwise.proxy.lint_captures.report import Excerpt, FileReport, Found, Report
from turnwise.proxy.replay.trace import TraceError
from turnwise.settings import IndexSettings, LintSettings
from turnwise.types import Prompt, Request

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = (
    "Read captured calls in their order, and say where a prompt stopped extending the one before it in its conversation, why, "
    "and what that cost. Nothing is sent anywhere."
)
MAX_BYTES = 1024 * 1024 * 1024
"""Prompts kept to compare with: a capture may hold many conversations at once, and nobody is served meanwhile."""

EXCERPT_BYTES = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `turnwise lint`."""
    parser.add_argument(
        "captures",
        nargs="+",
        type=Path,
        metavar="CAPTURE",
        help="JSON lines, plain or gzip: requests with `path`, `headers` and `body`, or bodies alone",
    )
    parser.add_argument("--api", choices=get_args(ApiName), help="API of bodies alone (default: told by their members)")
    parser.add_argument(
        "--bytes-per-token",
        type=_rate,
        default=IndexSettings().bytes_per_token,
        metavar="N",
        help="prompt bytes per token, by which tokens are estimated (default: %(default)s)",
    )
    parser.add_argument("--show", action="store_true", help="show the text where prompts part")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: argparse.Namespace) -> int:
    """Lint as parsed; returns 0 where no prefix was broken, 1 where one was, 2 where a file is no capture."""
    try:
        report = lint(args.captures, api=args.api, bytes_per_token=args.bytes_per_token, shows=args.show)
    except TraceError as error:
        sys.stderr.write(f"turnwise lint: {error}\n")
        return 2
    if args.json:
        sys.stdout.write(report.to_json().decode() + "\n")
    else:
        report.print(Console(highlight=False, soft_wrap=True))
    return 1 if report.causes else 0


def lint(paths: Sequence[Path], *, api: ApiName | None, bytes_per_token: float, shows: bool) -> Report:
    """Compare the calls of all captures, in the order given; a conversation may go on in the next file.

    Raises `TraceError` for a file that is no capture.
    """
    linter = Linter(LintSettings(max_bytes=MAX_BYTES), bytes_per_token)
    return Report(tuple(_lint_file(linter, path, api, shows=shows) for path in paths))


def _lint_file(linter: Linter, path: Path, api: ApiName | None, *, shows: bool) -> FileReport:
    num_steps = dict.fromkeys(Step, 0)
    refused: list[tuple[int, str]] = []
    findings: list[Found] = []
    for call in read_calls(path, api):
        if call.request is None:
            if call.problem:
                refused.append((call.number, call.problem))
            else:
                num_steps[Step.IGNORED] += 1
            continue
        followed = linter.follow(call.request, 0.0)
        num_steps[followed.step] += 1
        if followed.finding is not None:
            findings.append(Found(call.number, followed.finding, _excerpt(call.request, followed) if shows else None))
    return FileReport(
        str(path),
        sum(num_steps.values()) - num_steps[Step.IGNORED],
        num_steps[Step.NEW],
        num_steps[Step.EXTENDS],
        num_steps[Step.IGNORED],
        tuple(refused),
        tuple(findings),
    )


def _excerpt(request: Request, followed: Followed) -> Excerpt:
    finding, previous, prompt = followed.finding, followed.previous, request.prompt
    assert finding is not None, "only a break is shown"
    assert previous is not None, "a break has a prompt that it broke"
    assert prompt is not None, "a call without one is not followed"
    if previous.root != prompt.root and finding.prompt_byte == 0:
        return Excerpt(_printable(previous.root), _printable(prompt.root))
    return Excerpt(_around(previous, finding.prompt_byte), _around(prompt, finding.prompt_byte))


def _around(prompt: Prompt, byte: int) -> str:
    text = b"".join(prompt.raws)
    return _printable(text[max(0, byte - EXCERPT_BYTES) : byte + EXCERPT_BYTES])


def _printable(text: bytes) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text.decode(errors="replace"))


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value
