"""What a real engine says of its calls, beside what we say of the same: one trace, and the same times.

The engine sends its spans to the proxy's admin port; the proxy sends them on, with its own, to a sink.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from pathlib import Path
from statistics import median

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.sink.otlp import Sink
from tests.vllm.conversations import Shape, hold_conversations
from tests.vllm.fleet import running
from tests.vllm.sidecar import serving

pytestmark = pytest.mark.vllm

NUM_CONVERSATIONS, NUM_TURNS = 6, 4
SHAPE = Shape(first_tokens=1200, turn_tokens=600)
TOLERANCE = 0.15


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A proxy before one traced engine, and the sink where all spans end."""
    cache = os.environ.get("TURNWISE_VLLM_LAB")
    if cache is None:
        pytest.skip("this suite starts a replica of its own: use `make test-vllm`")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    traces_url = f"http://127.0.0.1:{port}/v1/traces"
    log = tmp_path_factory.mktemp("traces") / "proxy.log"
    with (
        Sink() as sink,
        running(Path(cache).resolve(), num_replicas=1, traces_url=traces_url) as replicas,
        serving(
            [replica.url for replica in replicas],
            *("--admin-port", str(port), "--set", f"traces.endpoint={sink.url}"),
            log=log,
        ) as sidecar,
    ):
        yield sidecar, sink


def matched(sidecar):
    families = text_string_to_metric_families(httpx.get(f"{sidecar.admin_url}/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == "turnwise_engine_spans_total"]
    return {sample.labels["what"]: int(sample.value) for sample in samples}


def seconds_in(span, what):
    return span.attributes[f"gen_ai.latency.time_in_{what}"]


async def test_the_engines_span_hangs_under_our_attempt_and_both_tell_the_same_times(traced, capsys):
    sidecar, sink = traced
    turns = await hold_conversations(
        lambda _session, _turn: sidecar.url,
        salt=secrets.token_hex(8),
        num_sessions=NUM_CONVERSATIONS,
        num_turns=NUM_TURNS,
        num_at_once=1,
        shape=SHAPE,
    )
    await asyncio.to_thread(
        sink.wait_for, lambda sink: len(sink.named("llm_request")) >= len(turns) <= len(sink.named("turnwise.upstream"))
    )
    ours = {span.id: span for span in sink.spans if span.scope == "turnwise"}
    steps = {(span.parent, span.name): span for span in ours.values()}
    pairs = []
    for engines in sink.named("llm_request"):
        attempt = ours[engines.parent]
        assert (attempt.name, attempt.trace) == ("turnwise.upstream", engines.trace)
        prefilled = steps.get((attempt.parent, "turnwise.prefill"))
        if prefilled is not None:  # a random model may write nothing but pieces of characters, which the engine keeps to itself
            pairs.append((engines, prefilled, steps[attempt.parent, "turnwise.decode"]))
    assert len(sink.named("llm_request")) == len(turns)
    assert len(pairs) >= len(turns) * 3 // 4

    prefill = [
        ours.duration_s / (seconds_in(engines, "queue") + seconds_in(engines, "model_prefill")) for engines, ours, _ in pairs
    ]
    decode = [ours.duration_s / seconds_in(engines, "model_decode") for engines, _, ours in pairs]
    with capsys.disabled():
        sys.stdout.write(
            f"\n  {len(pairs)} calls: ours over the engine's own at the median: prefill {median(prefill):.3f}, "
            f"decode {median(decode):.3f}; {matched(sidecar)}\n"
        )
    assert abs(median(prefill) - 1) <= TOLERANCE
    assert abs(median(decode) - 1) <= TOLERANCE
    assert matched(sidecar)["matched"] >= len(turns) - NUM_CONVERSATIONS
