"""What happened before our first block, as the contracts state it at the block before it.

Needed only where START_BLOCK is later than the LedgerManager: its ledgers, listings and accounts
then begin with rows of source `view` and kind `opening` instead of with their history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from chain.errors import Unavailable
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
    ledgers = partial(reads.all_ledgers, ledger_address)
    block, _ = _listed(block, ask, "ledger", ledgers, reads.LEDGER_PAGE)
    return ask(block, [reads.balance(ledger_address)])


def _contract(address: str, kind: str, block: Block, ask: Ask) -> Block:
    accounts, services = (
        partial(page, address, kind) for page in (reads.all_accounts, reads.all_services)
    )
    block, held = _listed(block, ask, kind, accounts, reads.PAGE)
    block = ask(block, [reads.account(address, kind, e["user"], e["provider"]) for e in held])
    block, listed = _listed(block, ask, kind, services, reads.PAGE)
    return ask(block, [reads.stake(address, kind, entry["provider"]) for entry in listed])


def _listed(
    block: Block, ask: Ask, kind: str, page: Callable[[int, int], Call], size: int
) -> tuple[Block, list[Any]]:
    """Every entry of a list. Raises Unavailable for one that the node has not the gas to read."""

    def asked(call: Call) -> Any:
        nonlocal block
        block = ask(block, [call])
        return reads.value(kind, call, block.calls[call])

    found, total = reads.whole_list(page, asked, size)
    if len(found) < total:
        raise Unavailable(f"the node has not the gas to read what {page(0, 1).to} lists")
    return block, found
