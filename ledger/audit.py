"""Comparing our rows with what the contracts themselves say, at one block (`check_index`).

Independent of the fold on purpose: it reads the contracts' own lists, so an entity we never heard
of is found too. Nonce and generation of deleted pairs are the only state no view shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings

from chain.errors import NodeBehind
from chain.facts import Call
from chain.models import Head
from chain.rpc import Rpc
from ledger import reads, rows
from ledger.compared import (
    chain_account,
    chain_ledger,
    chain_service,
    fields,
    our_account,
    our_ledger,
)
from ledger.models import Projection
from ledger.state import Serving, State
from protocol import abi

#: What a call answers where there is no contract yet: nothing exists there.
NO_CODE = "0x"


@dataclass(frozen=True, slots=True)
class Difference:
    """`ours` and `chain` are the two values; None on one side means "not there"."""

    what: str
    key: str
    field: str
    ours: Any
    chain: Any


@dataclass(frozen=True, slots=True)
class Report:
    """`compared` counts entities by kind; `block` is where both sides were read."""

    block: int
    block_hash: str
    compared: dict[str, int]
    differences: list[Difference]


def compare(rpc: Rpc, *, final: bool = False) -> Report:
    """Compare current rows at the indexed block, or final rows at the final one.

    Raises `NodeBehind` when the rows keep moving while they are read.
    """
    for _ in range(10):
        head = Head.objects.get(chain_id=settings.CHAIN_ID)
        ours = rows.load(current=not final)
        column = "surplus" if final else "pending_surplus"
        surplus = Projection.objects.values_list(column, flat=True).first() or 0
        again = Head.objects.get(chain_id=settings.CHAIN_ID)
        if (head.indexed_hash, head.final_hash) == (again.indexed_hash, again.final_hash):
            break
    else:
        raise NodeBehind("rows change faster than they can be read; try again")
    number = head.final_block if final else head.indexed_block
    if number < 0:
        raise NodeBehind("no block is final yet; try again when one is")
    block_hash = head.final_hash if final else head.indexed_hash
    ours.surplus = surplus
    audit = Audit(rpc, block_hash, settings.NETWORK.ledger_address, ours)
    differences = list(audit.run())
    return Report(number, block_hash, audit.compared, differences)


class Audit:
    """One comparison of `ours` with the contracts at a block; `ledger.sample` asks for less."""

    def __init__(self, rpc: Rpc, block: str, ledger_address: str, ours: State) -> None:
        self.rpc, self.block, self.ledger_address, self.ours = rpc, block, ledger_address, ours
        self.compared: dict[str, int] = {}

    def run(self) -> Iterator[Difference]:
        yield from self._ledgers()
        yield from self._registry()
        for serving in sorted(self.ours.servings.values(), key=lambda s: s.address):
            yield from self._contract(serving)
            if serving.kind in reads.CONTRACT_OF:
                yield from self._services(serving)
                yield from self._accounts(serving)

    # --- asking ----------------------------------------------------------------------------------

    def _ask(self, contract: str, call: Call) -> Any:
        return self._all(contract, [call])[0]

    def _all(self, contract: str, calls: Sequence[Call]) -> list[Any]:
        answers = self.rpc.views(self.block, calls)
        return [self._decode(contract, c, a) for c, a in zip(calls, answers, strict=True)]

    @staticmethod
    def _decode(contract: str, call: Call, answer: str) -> Any:
        if answer.startswith(reads.REVERT) or answer == NO_CODE:
            return None
        decoded = abi.decode_call(contract, call.data)
        if decoded is None:
            raise ValueError(call.data)
        return abi.decode_result(contract, decoded[0], answer)

    def _listed(
        self, contract: str, page: Callable[[int, int], Call], size: int = reads.PAGE
    ) -> list[Any]:
        return reads.whole_list(page, partial(self._ask, contract), size)[0]

    def _count(self, what: str, number: int) -> None:
        self.compared[what] = self.compared.get(what, 0) + number

    # --- comparing -------------------------------------------------------------------------------

    def _ledgers(self) -> Iterator[Difference]:
        page = partial(reads.all_ledgers, self.ledger_address)
        listed = self._listed(abi.LEDGER_MANAGER, page, reads.LEDGER_PAGE)
        chain = {entry["user"]: chain_ledger(entry) for entry in listed}
        ours = {x.user: our_ledger(x) for x in self.ours.ledgers.values() if x.exists}
        self._count("ledgers", len(chain))
        yield from mappings("ledger", ours, chain)
        yield from self._native()

    def _native(self) -> Iterator[Difference]:
        native = self.rpc.balances(self.ledger_address, [self.block])[0]
        if native != self.ours.expected_balance:
            yield Difference("ledger contract", "", "balance", self.ours.expected_balance, native)

    def _registry(self) -> Iterator[Difference]:
        call = reads.active_services(self.ledger_address)
        chain = {
            entry["serviceAddress"]: {
                "kind": entry["serviceType"],
                "version": entry["version"],
                "service_name": entry["fullName"],
                "recommended": entry["isRecommended"],
            }
            for entry in self._ask(abi.LEDGER_MANAGER, call) or ()
        }
        names = ("kind", "version", "service_name", "recommended")
        ours = {s.address: fields(s, names) for s in self.ours.servings.values()}
        self._count("serving contracts", len(chain))
        yield from mappings("serving contract", ours, chain)

    def _contract(self, serving: Serving) -> Iterator[Difference]:
        calls = [
            reads.lock_time(serving.address),
            reads.owner(serving.address),
            reads.penalty(serving.address),
        ]
        lock, owner, penalty = (
            reads.number(answer) for answer in self.rpc.views(self.block, calls)
        )
        chain = {
            "lock_time_seconds": lock or 0,
            "owner": abi.checksum(f"0x{owner:040x}") if owner is not None else "",
            "penalty_percentage": penalty,
        }
        yield from _fields("serving contract", serving.address, fields(serving, chain), chain)

    def _services(self, serving: Serving) -> Iterator[Difference]:
        contract = reads.CONTRACT_OF[serving.kind]
        listed = self._listed(contract, partial(reads.all_services, serving.address, serving.kind))
        chain: dict[str, dict[str, Any]] = {}
        for position, entry in enumerate(listed):
            chain[entry["provider"]] = {
                **chain_service(serving.kind, entry),
                "position": position,
            }
        self._count(f"{serving.kind} services", len(chain))
        yield from self._listings(serving, chain)

    def _listings(self, serving: Serving, chain: dict[str, dict[str, Any]]) -> Iterator[Difference]:
        """Ours of a contract beside the chain's, by provider, in the fields that these have."""
        mine = [s for s in self.ours.services.values() if s.serving == serving.address]
        names = next(iter(chain.values()), {}).keys()
        ours = {s.provider: fields(s, names) for s in mine if not s.removed}
        yield from mappings(f"{serving.kind} service", ours, chain)
        yield from self._stakes(serving, {s.provider: s.stake for s in mine}, chain)

    def _stakes(
        self, serving: Serving, ours: dict[str, int], listed: Iterable[str]
    ) -> Iterator[Difference]:
        providers = sorted(set(ours) | set(listed))
        calls = [reads.stake(serving.address, serving.kind, p) for p in providers]
        for provider, answer in zip(providers, self.rpc.views(self.block, calls), strict=True):
            stake = reads.number(answer)
            if stake != ours.get(provider, 0):
                yield Difference(
                    f"{serving.kind} service", provider, "stake", ours.get(provider, 0), stake
                )

    def _accounts(self, serving: Serving) -> Iterator[Difference]:
        contract = reads.CONTRACT_OF[serving.kind]
        listed = self._listed(contract, partial(reads.all_accounts, serving.address, serving.kind))
        if serving.kind == "fine-tuning":
            whole = self._read(serving, [(entry["user"], entry["provider"]) for entry in listed])
            # Of what is too long to be read its summary is compared: the money is in it.
            listed = [whole.get((entry["user"], entry["provider"])) or entry for entry in listed]
        chain = {(e["user"], e["provider"]): chain_account(e) for e in listed}
        ours = {
            (a.user, a.provider): our_account(a, serving.kind)
            for a in self.ours.accounts.values()
            if a.serving == serving.address and a.live
        }
        self._count(f"{serving.kind} accounts", len(chain))
        yield from mappings(f"{serving.kind} account", ours, chain)

    def _read(
        self, serving: Serving, pairs: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], dict[str, Any] | None]:
        """The accounts of `pairs`, None where there is none; without those too long to be read."""
        contract = reads.CONTRACT_OF[serving.kind]
        calls = [reads.account(serving.address, serving.kind, *pair) for pair in pairs]
        answers = self.rpc.views(self.block, calls)
        return {
            pair: self._decode(contract, call, answer)
            for pair, call, answer in zip(pairs, calls, answers, strict=True)
            if answer != reads.WORDLESS
        }


def mappings(
    what: str, ours: dict[Any, dict[str, Any]], chain: dict[Any, dict[str, Any]]
) -> Iterator[Difference]:
    for key in sorted(set(ours) | set(chain)):
        name = key if isinstance(key, str) else " at ".join(key)
        if key not in ours or key not in chain:
            yield Difference(what, name, "exists", key in ours, key in chain)
        else:
            yield from _fields(what, name, ours[key], chain[key])


def _fields(
    what: str, key: str, ours: dict[str, Any], chain: dict[str, Any]
) -> Iterator[Difference]:
    for field, value in chain.items():
        # A fine-tuning service carries no time of update on chain; ours is the block's.
        if ours[field] != value:
            yield Difference(what, key, field, ours[field], value)
