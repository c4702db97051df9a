"""Which programs are traced: a function of the trace id, so that every proxy decides alike."""

from __future__ import annotations

_ALL = 1 << 64


def is_sampled(trace_id: bytes, ratio: float, inbound: bool | None = None) -> bool:  # noqa: FBT001 - three answers, one of them none
    """Decide at a program's first call whether it is traced.

    `inbound` is the decision of the client whose trace is joined, which goes first; None where there is none. Else `ratio`, 0
    to 1, is the share of trace ids whose last eight bytes lie below it, as the SDKs of OpenTelemetry count.
    """
    if inbound is not None:
        return inbound
    if ratio >= 1:
        return True
    return int.from_bytes(trace_id[8:]) < round(ratio * _ALL)
