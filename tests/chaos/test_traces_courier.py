"""The process that sends spans, and who tells it of calls: what becomes of records when it dies or halts, or the proxy does."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE

import msgspec
import pytest
from tests.sink.otlp import Sink
from tests.sink.records import EPOCH_NS, call, key

from turnwise.proxy.export.otlp import find_target, wire
from turnwise.proxy.export.otlp.courier import FRAME_AT_MOST, FRAME_RECORDS, FRAMES_AT_ONCE, RECORD_BYTES, Courier
from turnwise.proxy.export.otlp.told import Loss, Order, Record, Report, frame
from turnwise.proxy.programs.values import Ended, Outcome
from turnwise.settings import Settings, TraceSettings

KEY = key()
LIMIT_S = 30


@pytest.fixture
def sink():
    with Sink() as running:
        yield running


def order(sink, **traces):
    settings = Settings(traces=TraceSettings(endpoint=sink.url, **traces))
    return Order(settings, find_target(settings.traces, {}), wire.resource({"service.name": "turnwise"}), EPOCH_NS)


async def until(condition, sink):
    await asyncio.to_thread(sink.wait_for, condition)


def never(sink):
    return lambda _handler: sink.released.wait()


async def test_calls_programs_and_engines_requests_reach_the_backend_and_what_became_of_them_is_known(sink):
    theirs = wire.request(wire.resource({"service.name": "vllm"}), b"")
    courier = Courier(order(sink))
    courier.start()
    records = [call(number) for number in range(FRAME_RECORDS + 1)]
    for record in records:
        courier.call_ended(KEY, record)
    courier.call_ended(key("unseen", is_sampled=False), call(99))
    courier.forward(theirs)
    await until(lambda sink: len(sink.named("chat")) == len(records), sink)
    courier.program_ended(Ended(KEY, Outcome.ASKED, tuple(records), records[-1].times.ended))
    await courier.stop()
    assert sink.spans[-1].name == "invoke_workflow nightly"
    assert sink.spans[0].start_ns == EPOCH_NS + int(records[0].times.arrived * 1e9)
    assert courier.num_exported == len(sink.spans)
    assert set(courier.lost.values()) == {0}
    assert courier.pending_bytes == 0


async def test_a_process_that_dies_is_started_again_and_what_it_had_is_counted(sink):
    sink.answers.append(never(sink))
    courier = Courier(order(sink))
    courier.start()
    courier.call_ended(KEY, call(0))
    await until(lambda sink: sink.num_batches == 1, sink)
    os.kill(courier._process.pid, signal.SIGKILL)
    courier.call_ended(KEY, call(1))
    await until(lambda sink: sink.named("chat"), sink)
    await courier.stop()
    assert courier.num_exported == 6
    assert sink.one("chat").attributes["turnwise.call.id"] == call(1).call_id
    assert courier.lost == {**dict.fromkeys(Loss, 0), Loss.BROKEN: 1}


async def test_ctrl_c_in_the_terminal_of_the_proxy_does_not_reach_the_process_which_gives_way_to_it(sink):
    courier = Courier(order(sink))
    courier.start()
    courier.call_ended(KEY, call(0))
    await until(lambda sink: sink.named("chat"), sink)
    pid = courier._process.pid
    assert os.getpgid(pid) != os.getpgid(0)
    assert os.getsid(pid) == os.getsid(0)  # in another, it would give way to none of ours
    await courier.stop()


async def test_beside_a_process_that_stands_still_memory_is_bounded_and_every_record_is_accounted_for(sink, caplog):
    courier = Courier(order(sink, max_pending_bytes=200_000, flush_timeout_s=0.1))
    courier.start()
    courier.call_ended(KEY, call(0))
    await until(lambda sink: len(sink.spans) == 6, sink)
    process = courier._process
    os.kill(process.pid, signal.SIGSTOP)
    for number in range(1, 10_001):
        courier.call_ended(KEY, call(number))
        if number % FRAME_RECORDS == 0:
            await asyncio.sleep(0)
    assert courier.pending_bytes <= 200_000
    assert process.stdin.transport.get_write_buffer_size() <= 200_000
    assert courier.lost[Loss.FULL] > 9_000
    await courier.stop()
    assert process.returncode == -signal.SIGKILL
    # Its report of the first may have come before it stood still, or not.
    assert courier.num_exported // 6 + sum(courier.lost.values()) == 10_001
    assert "spans of some calls and programs were not sent" in caplog.text


async def test_what_finds_no_room_is_counted_and_never_packed(sink):
    courier = Courier(order(sink, max_pending_bytes=FRAME_AT_MOST * RECORD_BYTES))
    for number in range(FRAME_AT_MOST):
        courier.call_ended(KEY, call(number))
    assert courier.lost[Loss.FULL] == 0
    assert len(courier._held) == 1
    cannot_be_packed = msgspec.structs.replace(call(0), model=object())
    for _ in range(FRAME_AT_MOST):
        courier.call_ended(KEY, cannot_be_packed)
    assert courier.lost[Loss.FULL] == FRAME_AT_MOST
    assert 0 < courier.pending_bytes <= FRAME_AT_MOST * RECORD_BYTES
    await courier.stop()
    assert sum(courier.lost.values()) == 2 * FRAME_AT_MOST


async def test_a_frame_is_made_in_a_turn_of_the_loop_of_its_own_or_at_once_where_that_does_not_come(sink):
    courier = Courier(order(sink))

    def frame_sizes():
        return [count for _, count in courier._held]

    for number in range(FRAME_RECORDS + 1):
        courier.call_ended(KEY, call(number))
    assert frame_sizes() == []
    await asyncio.sleep(0)
    assert frame_sizes() == [FRAME_RECORDS + 1]
    for number in range(FRAME_AT_MOST):
        courier.call_ended(KEY, call(number))
    assert frame_sizes() == [FRAME_RECORDS + 1, FRAME_AT_MOST]
    await courier.stop()


async def test_all_that_has_waited_for_a_process_comes_though_it_is_more_than_is_sent_at_once(sink):
    courier = Courier(order(sink))
    records = [call(number) for number in range(2 * FRAMES_AT_ONCE * FRAME_AT_MOST + 1)]
    for record in records:
        courier.call_ended(KEY, record)
    courier.start()
    await until(lambda sink: len(sink.named("chat")) == len(records), sink)
    await courier.stop()
    assert courier.num_exported == len(sink.spans)
    assert courier.pending_bytes == 0


async def test_a_proxy_that_stops_while_there_is_no_process_counts_what_it_held(sink):
    courier = Courier(order(sink))
    courier.call_ended(KEY, call(0))
    await courier.stop()
    assert courier.lost[Loss.STOPPED] == 1


async def test_the_process_ends_with_its_input_alone_and_sends_what_it_was_told_before(sink):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turnwise.proxy.export.otlp.process", stdin=PIPE, stdout=PIPE
    )
    process.stdin.write(msgspec.json.encode(order(sink)) + b"\n" + frame([Record(KEY, call(0))]))
    async with asyncio.timeout(LIMIT_S):
        await process.stdout.readline()
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        process.stdin.write(frame([Record(KEY, call(1))])[:-1])
        process.stdin.close()
        lines = (await process.stdout.read()).splitlines()
        assert await process.wait() == 0
    last = msgspec.json.decode(lines[-1], type=Report)
    assert (last.num_exported, last.num_settled, last.pending_bytes) == (6, 1, 0)
    assert len(sink.named("chat")) == 1


async def test_a_process_that_is_told_nothing_ends():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turnwise.proxy.export.otlp.process", stdin=PIPE, stdout=PIPE
    )
    async with asyncio.timeout(LIMIT_S):
        said, _ = await process.communicate(b"")
    assert (process.returncode, said) == (0, b"")
