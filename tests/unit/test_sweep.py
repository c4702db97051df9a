"""Housekeeping that goes on until nothing is left, then pauses, and gives calls the way."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

from turnwise.proxy.sweep import LULL_WITHIN, keep_told


class Recorder:
    """Tells of programs `num_slices` times, and once more to say that there are no more."""

    def __init__(self, num_slices: int = 0) -> None:
        self.left = num_slices
        self.num_steps = 0
        self.num_told = 0
        self.num_sweeps = 0

    def check_late(self) -> None:
        """Has nothing to tell of prompts."""

    def tell_calls(self) -> None:
        self.num_told += 1

    def sweep_programs(self) -> bool:
        self.num_sweeps += 1
        self.left -= 1
        return self.left >= 0


@asynccontextmanager
async def telling(recorder):
    task = asyncio.create_task(keep_told(recorder))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def turns(number, recorder=None):
    """Let the loop turn; of `recorder`, a call begins or ends in each."""
    for _ in range(number):
        if recorder is not None:
            recorder.num_steps += 1
        await asyncio.sleep(0)


async def test_programs_that_have_ended_are_told_of_one_slice_after_the_other_and_others_run_between():
    recorder = Recorder(3)
    async with telling(recorder):
        found = []
        for _ in range(10):
            await asyncio.sleep(0)
            found.append(recorder.num_sweeps)
    assert found[-1] == 4
    assert all(after - before <= 1 for before, after in pairwise(found))


async def test_calls_and_programs_are_told_of_in_turns_that_had_no_calls():
    recorder = Recorder()
    async with telling(recorder):
        await turns(LULL_WITHIN - 1, recorder)
        assert recorder.num_told == 0
        await turns(1)
        assert (recorder.num_told, recorder.num_sweeps) == (1, 0)
        await turns(LULL_WITHIN - 1, recorder)
        assert recorder.num_sweeps == 0
        await turns(1)
        assert recorder.num_sweeps == 1


async def test_they_are_told_of_though_no_turn_is_without_calls():
    recorder = Recorder()
    async with telling(recorder):
        await turns(3 * LULL_WITHIN, recorder)
    assert (recorder.num_told, recorder.num_sweeps) == (1, 1)
