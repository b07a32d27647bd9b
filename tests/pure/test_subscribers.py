"""What a subscriber receives: in order, without a gap, and never too much."""

from __future__ import annotations

import asyncio

from inference import subscribers
from inference.subscribers import Entry

SOON = 0.01


def entry(seq: int) -> Entry:
    return Entry(seq, {"type": "delta", "text": str(seq)}, b"{}")


async def test_entries_are_received_once_in_order_and_only_without_a_gap() -> None:
    with subscribers.subscribed(7) as subscriber, subscribers.subscribed(7) as other:
        assert not subscriber.live
        publisher = subscribers.begin(7)
        for seq in (1, 2, 3):
            publisher.publish([entry(seq)])
        assert subscriber.live
        assert [e.seq for e in await subscriber.after(1, SOON)] == [2, 3]
        assert await subscriber.after(3, SOON) == []
        subscriber.receive(entry(9))
        assert await subscriber.after(3, SOON) == [], "4 to 8 have to be read from the stream"
        assert await subscriber.after(9, SOON) == [], "and 9 with them"
        assert [e.seq for e in await other.after(0, SOON)] == [1, 2, 3]
        publisher.lose()
        assert not subscriber.live and not other.live
    assert not held()


async def test_who_comes_while_nothing_is_missing_need_not_ask_redis() -> None:
    publisher = subscribers.begin(8)
    with subscribers.subscribed(8) as first:
        assert first.live and not first.behind
        publisher.publish([entry(1), entry(2)])
        with subscribers.subscribed(8) as late, subscribers.subscribed(8, 2) as back:
            assert late.live and late.behind and not back.behind, (
                "two entries are missing to the one, none to the other"
            )
    publisher.end()
    with subscribers.subscribed(8) as after:
        assert not after.live
    assert not held()


def held() -> dict[int, object]:
    """What is kept of turns that nobody writes or watches any more."""
    return dict(subscribers._turns[asyncio.get_running_loop()])


async def test_a_watcher_that_falls_behind_holds_a_bounded_number() -> None:
    with subscribers.subscribed(1) as subscriber:
        for seq in range(1, 3 * subscribers.MOST_HELD):
            subscriber.receive(entry(seq))
        assert await subscriber.after(0, SOON) == []
        subscriber.receive(entry(3 * subscribers.MOST_HELD))
        found = await subscriber.after(3 * subscribers.MOST_HELD - 1, SOON)
        assert [e.seq for e in found] == [3 * subscribers.MOST_HELD]
