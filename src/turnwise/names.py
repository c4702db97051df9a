"""Every metric and header name, in one place; dashboards depend on these, so a rename is a breaking change."""

from __future__ import annotations

HEADER_REQUEST_ID = b"x-request-id"
HEADER_REASON = b"x-turnwise-reason"
HEADER_PLACEMENT = b"x-turnwise-placement"
HEADER_REPLICA = b"x-turnwise-replica"
HEADER_DEBUG = b"x-turnwise-debug"
HEADER_STAMP = b"x-session-id"
