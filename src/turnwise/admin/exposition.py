"""The two texts in which Prometheus reads metrics: its own, and OpenMetrics, which alone holds exemplars."""

from __future__ import annotations

from enum import Enum

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

MAX_ACCEPT_CHARS = 4096
"""Of an `Accept` header that is read; Prometheus sends 250."""


class Format(Enum):
    """A text format, by its content type."""

    PLAIN = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @classmethod
    def wanted(cls, accept: str) -> Format:
        """The format that an `Accept` header prefers; OpenMetrics only where it is named, as not everybody reads it."""
        weights: dict[str, float] = {}
        for offer in accept[:MAX_ACCEPT_CHARS].split(","):
            media, *parameters = (part.strip().lower() for part in offer.split(";"))
            weights[media] = max(weights.get(media, 0.0), _weight(parameters))
        weight = weights.get("application/openmetrics-text", 0.0)
        return cls.OPENMETRICS if weight and weight >= weights.get("text/plain", 0.0) else cls.PLAIN


def rendered(registry: CollectorRegistry, form: Format) -> bytes:
    """All metrics of a registry in one format."""
    if form is Format.PLAIN:
        return generate_latest(registry)
    page: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    return page


def _weight(parameters: list[str]) -> float:
    """The `q` of an offer, 0 to 1; 1 where it has none, 0 where it is malformed."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            whole, _, rest = value.partition(".")
            is_number = len(value) <= 5 and (whole + rest).isdecimal() and value.isascii()
            return min(1.0, float(value)) if is_number else 0.0
    return 1.0
