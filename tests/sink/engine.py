"""What vLLM exports of a request, as it does (0.32.0, recorded)."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from turnwise.proxy.programs.spans import attempt_span

QUEUED_S, PREFILL_S, DECODE_S = 4.327400006332027e-05, 0.019173196999872744, 0.04431365499999629
LATENCIES = {
    "gen_ai.latency.time_to_first_token": 0.03874993324279785,
    "gen_ai.latency.e2e": 0.07989048957824707,
    "gen_ai.latency.time_in_queue": QUEUED_S,
    "gen_ai.latency.time_in_model_prefill": PREFILL_S,
    "gen_ai.latency.time_in_model_decode": DECODE_S,
    "gen_ai.latency.time_in_model_inference": 0.06348685199986903,
}


def engine_request(*parents, name="llm_request", latencies=LATENCIES, trace=b"T" * 16):
    """A request of OTLP with one span under each of these spans."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "unknown_service:python"
    scope = group.scope_spans.add()
    scope.scope.name = "vllm.tracing.otel"
    for number, parent in enumerate(parents):
        span = scope.spans.add(trace_id=trace, span_id=b"%08d" % (number + 1), parent_span_id=parent, name=name, kind=2)
        span.start_time_unix_nano, span.end_time_unix_nano = 10, 20
        for key, value in latencies.items():
            span.attributes.add(key=key).value.double_value = value
        span.attributes.add(key="gen_ai.usage.prompt_tokens").value.int_value = 331
    return request.SerializeToString()


def engine_request_of(*calls, **changes):
    """One span under the last attempt of each of these calls."""
    return engine_request(*(attempt_span(call.call_id, call.attempt) for call in calls), **changes)
