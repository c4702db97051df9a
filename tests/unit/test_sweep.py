"""Housekeeping that goes on until nothing is left, then pauses."""

import asyncio

from turnwise.proxy.sweep import keep_told


class Rows:
    """Tells of programs `count` times."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.asked = 0

    def check_late(self) -> None:
        """Has nothing to tell of prompts."""

    def sweep_programs(self) -> bool:
        self.asked += 1
        self.left -= 1
        return self.left >= 0


async def test_programs_that_have_ended_are_told_of_one_slice_after_the_other_and_others_run_between():
    recorder = Rows(3)
    task = asyncio.create_task(keep_told(recorder))
    for _ in range(10):
        await asyncio.sleep(0)
    assert recorder.asked == 4
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
