"""Who sends the spans: the resource of this process, as OpenTelemetry names such things."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

import turnwise


def process_resource() -> Mapping[str, object]:
    """Name this process; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go before what it says of itself."""
    own = {
        "service.name": "turnwise",
        "service.version": turnwise.__version__,
        "service.instance.id": str(uuid.uuid4()),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "turnwise",
        "telemetry.sdk.version": turnwise.__version__,
    }
    return dict(Resource(own).merge(OTELResourceDetector().detect()).attributes)
