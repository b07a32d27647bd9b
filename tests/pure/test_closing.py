"""The checklist of closing an account points at the one thing to do next."""

from __future__ import annotations

from accounts.closing import checklist
from ledger.records import Account, Position, Purse, Refund

ONE = 10**18


def position(free: int, *unlocks: int) -> Position:
    refunds = tuple(Refund(n, ONE, at - 86_400, at) for n, at in enumerate(unlocks))
    pending = ONE * len(refunds)
    return Position(
        user="0x1",
        provider="0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
        service_name="inference-v1.0",
        serving="0x2",
        kind="inference",
        balance=free + pending,
        pending_refund=pending,
        nonce=0,
        acknowledged=True,
        additional_info="",
        generation=0,
        revoked_bitmap=0,
        refunds=refunds,
        deliverables=(),
        lock_time_seconds=86_400,
        block=1,
        pending=False,
    )


def states(available: int, *positions: Position) -> list[str]:
    total = available + sum(p.balance for p in positions)
    account = Account("0x1", Purse(total, available, "", 1, False), positions)
    return [todo.state for todo in checklist(account, now=1000)]


def test_each_step_follows_the_one_before() -> None:
    assert states(ONE, position(5)) == ["current", "next", "next", "next"]
    assert states(ONE, position(0, 2000)) == ["done", "current", "next", "next"]
    assert states(ONE, position(0, 500)) == ["done", "done", "current", "next"]
    assert states(ONE, position(0)) == ["done", "done", "done", "current"]
    assert states(0, position(0)) == ["done"] * 4


def test_the_open_step_carries_its_links_and_its_time() -> None:
    account = Account("0x1", Purse(9 * ONE, ONE, "", 1, False), (position(2 * ONE, 2000, 3000),))
    first, wait, _, last = checklist(account, now=1000, lead=100)
    assert [label for label, _ in first.links] == ["Retrieve 2 0G from 0x15d3…6A65"]
    assert "action=retrieve&account=inference-v1.0%3A0x15d3" in first.links[0][1]
    assert wait.unlocks_at_unix == 2900  # by our clock, which is 100 s behind the chain's
    assert last.links == ()
    ready = Account("0x1", Purse(ONE + 1, ONE + 1, "", 1, False), ())
    assert checklist(ready, now=1000)[3].links == (
        ("Withdraw everything", "/account?action=withdraw&amount=1.000000000000000001"),
    )
