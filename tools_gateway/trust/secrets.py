"""Shapes of secrets that their issuers made to be found; anything else is left alone, for a false alarm stops a tool."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec


class Shape(msgspec.Struct, frozen=True):
    """One kind of secret."""

    name: str
    marks: tuple[str, ...]
    """One of these stands in every text that holds it: what is looked for before the pattern is tried."""
    pattern: re.Pattern[str]


def _shape(name: str, marks: str, pattern: str) -> Shape:
    return Shape(name, tuple(marks.split()), re.compile(rf"(?<![A-Za-z0-9_])(?:{pattern})(?![A-Za-z0-9_])"))


SHAPES = (
    # github.blog, "Behind GitHub's new authentication token formats" (2021), and docs.github.com on fine-grained tokens.
    _shape("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,251}"),
    _shape("GitHub token", "github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    # docs.gitlab.com, "Token overview": prefixes.
    _shape("GitLab token", "glpat- gldt- glrt-", r"gl(?:pat|dt|rt)-[A-Za-z0-9_\-]{20,64}"),
    # docs.aws.amazon.com, IAM identifiers: AKIA and ASIA begin ids of access keys, which only ever travel with their key.
    _shape("AWS access key", "AKIA ASIA", r"A(?:KI|SI)A[A-Z2-7]{16}"),
    # cloud.google.com, API keys: 39 characters.
    _shape("Google API key", "AIza", r"AIza[A-Za-z0-9_\-]{35}"),
    # api.slack.com, token types.
    _shape("Slack token", "xoxb- xoxp- xoxa- xoxs- xapp-", r"(?:xox[bpas]|xapp)-[0-9A-Za-z\-]{20,250}"),
    # docs.stripe.com, API keys: live ones alone.
    _shape("Stripe key", "sk_live_ rk_live_", r"[sr]k_live_[A-Za-z0-9]{24,247}"),
    # platform.claude.com and platform.openai.com: prefixes of API keys; T3BlbkFJ is "OpenAI" in base64.
    _shape("Anthropic API key", "sk-ant-", r"sk-ant-[a-z]{3,5}[0-9]{2}-[A-Za-z0-9_\-]{80,120}"),
    _shape("OpenAI API key", "T3BlbkFJ", r"sk-[A-Za-z0-9_\-]{20,90}T3BlbkFJ[A-Za-z0-9_\-]{20,90}"),
    # huggingface.co/docs, user access tokens; docs.npmjs.com, access tokens; pypi.org/help (a macaroon for pypi.org).
    _shape("Hugging Face token", "hf_", r"hf_[A-Za-z]{34}"),
    _shape("npm token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _shape("PyPI token", "pypi-AgEIcHlwaS5vcmc", r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_\-]{50,250}"),
    # docs.digitalocean.com, tokens; www.twilio.com/docs/sendgrid, API keys.
    _shape("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    _shape("SendGrid API key", "SG.", r"SG\.[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43}"),
    # RFC 7468 and OpenSSH's PROTOCOL.key.
    Shape(
        "private key",
        ("PRIVATE KEY-----",),
        re.compile(r"-----BEGIN (?:[A-Z]{2,9} )?PRIVATE KEY-----(?:(?:\\n|[\sA-Za-z0-9+/=:,\-])*?-----END [A-Z ]+-----)?"),
    ),
)
_MARKS = tuple((mark.encode(), shape) for shape in SHAPES for mark in shape.marks)


def _glance() -> tuple[re.Pattern[bytes], ...]:
    """Patterns that each begin with one character, by which they are searched at the speed of `memchr`; together every mark.

    A search for each mark, or for one pattern of all, takes 25 us for 1 KB; these take 2.
    """
    found: dict[str, set[str]] = {}
    for mark in (mark for shape in SHAPES for mark in shape.marks):
        pivot = next((position for position, character in enumerate(mark) if character in "_-."), 0)
        condition = f"(?<={re.escape(mark[: pivot + 1])})" if pivot else f"(?={re.escape(mark[1:])})"
        found.setdefault(mark[pivot], set()).add(condition)
    return tuple(re.compile(f"{re.escape(at)}(?:{'|'.join(sorted(conditions))})".encode()) for at, conditions in found.items())


_GLANCE = _glance()


def shapes_in(encoded: bytes) -> list[Shape]:
    """The kinds of secrets that a text may hold, by a quick look at its bytes; none for almost every text."""
    if not any(pattern.search(encoded) for pattern in _GLANCE):
        return []
    return [shape for mark, shape in _MARKS if mark in encoded]


def found_in(text: str, shapes: list[Shape]) -> Iterator[str]:
    """Names of the secrets that a text holds."""
    return (shape.name for shape in shapes if shape.pattern.search(text))


def redacted(text: str, shapes: list[Shape]) -> str:
    """The text with its secrets blacked out."""
    for shape in shapes:
        text = shape.pattern.sub(f"[{shape.name} removed]", text)
    return text
