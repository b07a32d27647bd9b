"""What a watcher hears in the writer's own process: in order, without a gap, and never too much."""

from __future__ import annotations

import asyncio

from inference import ears
from inference.ears import Entry

SOON = 0.01


def entry(seq: int) -> Entry:
    return Entry(seq, {"type": "delta", "text": str(seq)}, b"{}")


async def test_entries_are_heard_once_in_order_and_only_without_a_gap() -> None:
    with ears.listening(7) as ear, ears.listening(7) as other:
        assert not ear.live
        voice = ears.begin(7)
        for seq in (1, 2, 3):
            voice.tell([entry(seq)])
        assert ear.live
        assert [e.seq for e in await ear.after(1, SOON)] == [2, 3]
        assert await ear.after(3, SOON) == []
        ear.hear(entry(9))
        assert await ear.after(3, SOON) == [], "4 to 8 have to be read from the stream"
        assert await ear.after(9, SOON) == [], "and 9 with them"
        assert [e.seq for e in await other.after(0, SOON)] == [1, 2, 3]
        voice.lose()
        assert not ear.live and not other.live
    assert not held()


async def test_who_comes_while_nothing_is_missing_need_not_ask_redis() -> None:
    voice = ears.begin(8)
    with ears.listening(8) as first:
        assert first.live and not first.behind
        voice.tell([entry(1), entry(2)])
        with ears.listening(8) as late, ears.listening(8, 2) as back:
            assert late.live and late.behind and not back.behind, (
                "two entries are missing to the one, none to the other"
            )
    voice.end()
    with ears.listening(8) as after:
        assert not after.live
    assert not held()


def held() -> dict[int, object]:
    """What is kept of turns that nobody writes or watches any more."""
    return dict(ears._turns[asyncio.get_running_loop()])


async def test_a_watcher_that_falls_behind_holds_a_bounded_number() -> None:
    with ears.listening(1) as ear:
        for seq in range(1, 3 * ears.MOST_HELD):
            ear.hear(entry(seq))
        assert await ear.after(0, SOON) == []
        ear.hear(entry(3 * ears.MOST_HELD))
        found = await ear.after(3 * ears.MOST_HELD - 1, SOON)
        assert [e.seq for e in found] == [3 * ears.MOST_HELD]
