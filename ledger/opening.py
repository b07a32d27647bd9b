"""What happened before our first block, as the contracts state it at the block before it.

Needed only where START_BLOCK is later than the LedgerManager: its ledgers, listings and accounts
then begin with rows of source `view` and kind `opening` instead of with their history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chain.facts import Block, Call
from ledger import reads

Ask = Callable[[Block, Sequence[Call]], Block]


def servings(ledger_address: str, block: Block) -> list[str]:
    """The serving contracts that an opening block lists; [] for any other block."""
    call = reads.active_services(ledger_address)
    answered = reads.answer("ledger", call, block.calls[call]) if call in block.calls else None
    return [entry["serviceAddress"] for entry in (answered[2] or [])] if answered else []


def questions(ledger_address: str, block: Block, ask: Ask) -> Block | None:
    """`block` with every answer an opening needs; None where there is no contract yet."""
    call = reads.active_services(ledger_address)
    answered = ask(block, [call])
    if answered.calls[call] == "0x":
        return None
    block = answered
    for address in servings(ledger_address, block):
        info = reads.service_info(ledger_address, address)
        block = ask(block, reads.registration(ledger_address, address))
        found = reads.answer("ledger", info, block.calls[info])
        kind = found[2]["serviceType"] if found and found[2] else ""
        if kind in reads.CONTRACT_OF:
            block = _contract(address, kind, block, ask)
    return block


def _contract(address: str, kind: str, block: Block, ask: Ask) -> Block:
    block, pairs = _pages(block, ask, lambda o: reads.all_accounts(address, kind, o), kind)
    block = ask(block, [reads.account(address, kind, u, p) for u, p in pairs])
    block, listed = _pages(block, ask, lambda o: reads.all_services(address, kind, o), kind)
    return ask(block, [reads.stake(address, kind, provider) for _, provider in listed])


def _pages(
    block: Block, ask: Ask, page: Callable[[int], Call], kind: str
) -> tuple[Block, list[tuple[str, str]]]:
    """(user, provider) of every entry of a paged list; the user is empty for listings."""
    found: list[tuple[str, str]] = []
    while True:
        call = page(len(found))
        block = ask(block, [call])
        answered = reads.answer(kind, call, block.calls[call])
        value = answered[2] if answered else []
        entries, total = value if len(value) == 2 and isinstance(value[1], int) else (value, 0)
        found += [(entry.get("user", ""), entry["provider"]) for entry in entries]
        if len(found) >= total or not entries:
            return block, found
