"""One at a time for each name, however they come."""

from __future__ import annotations

import asyncio

from inference.queues import Queues


async def test_who_comes_while_one_leaves_waits_behind_who_waited() -> None:
    queues, inside, most = Queues(), 0, 0

    async def visit(first: bool = False) -> None:
        nonlocal inside, most
        async with queues.turn("name"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            if first:
                late.append(asyncio.create_task(visit()))
            inside -= 1

    late: list[asyncio.Task[None]] = []
    await asyncio.gather(visit(first=True), visit(first=True), visit())
    await asyncio.gather(*late)
    assert most == 1 and not queues.waiting

    async def other() -> str:
        async with queues.turn("another"):
            return "at once"

    async with queues.turn("name"):
        async with asyncio.timeout(5):
            assert await other() == "at once"
    assert not queues.waiting
