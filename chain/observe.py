"""What one node says of the chain: its head, its final block, and whether the past still holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chain import facts
from chain.errors import FinalityViolated, NodeBehind, Unavailable, WrongChain
from chain.facts import Header
from chain.models import Head
from chain.rpc import Failure, Request, Rpc

#: A `finalized` tag further behind the head than this is not plausible.
MAX_FINALITY = 2_000


@dataclass(frozen=True, slots=True)
class Observation:
    latest: dict[str, Any]
    head: Header
    final: int


class Observer:
    """Looks at the chain before every step; `row` is what we last knew of it."""

    def __init__(self, rpc: Rpc, row: Head, confirmations: int) -> None:
        self.rpc, self.row, self.confirmations = rpc, row, confirmations
        self.genesis_checked = False

    def observe(self) -> Observation:
        """What one node says; a node that contradicts what was final is set aside for another."""
        while (seen := self._look()) is None:
            pass
        return seen

    def _look(self) -> Observation | None:
        """None when the node that answered is now set aside."""
        asked = ["latest", "finalized", *([self.row.final_block] if self.row.final_hash else [])]
        requests = [
            Request(
                "eth_getBlockByNumber",
                (hex(ref) if isinstance(ref, int) else ref, ref == "latest"),
                optional=ref == "finalized",
            )
            for ref in asked
        ]
        if not self.genesis_checked:
            requests.append(Request("eth_getBlockByNumber", ("0x0", False)))
        answers = self.rpc.many(requests)
        genesis = answers.pop() if not self.genesis_checked else None
        latest = answers[0]
        if isinstance(latest, Failure) or latest is None:
            raise Unavailable("the node does not know its own head")
        head = facts.header(latest)
        try:
            if not self.genesis_checked:
                self._check_genesis(genesis)
            if self.row.final_hash:
                self._check_final(answers[2], head)
        except (FinalityViolated, WrongChain) as error:
            self.rpc.set_aside(error)
            return None
        if self.rpc.last is not None:
            self.rpc.last.head_block = head.number
        final = self._final_of(answers[1], head)
        return Observation(latest, head, max(final, self.row.final_block))

    def _check_genesis(self, raw: Any) -> None:
        """A chain that starts elsewhere is another chain, whatever its id says."""
        if isinstance(raw, Failure) or raw is None:
            return  # pruned nodes may not serve it; the final block is checked at every step
        found = _numbered(raw, 0).hash
        if self.row.genesis_hash and self.row.genesis_hash != found:
            raise WrongChain(
                "the node's first block is another one than that of the chain in this database; "
                "point CHAIN_RPC_URLS at the old chain or start with an empty database"
            )
        self.row.genesis_hash = found
        self.genesis_checked = True

    def _check_final(self, raw: Any, head: Header) -> None:
        if isinstance(raw, Failure) or raw is None:
            raise NodeBehind(
                f"the node is at block {head.number} and does not have block "
                f"{self.row.final_block}, which was final"
            )
        found = _numbered(raw, self.row.final_block).hash
        if found != self.row.final_hash:
            raise FinalityViolated(
                f"block {self.row.final_block} was final as {self.row.final_hash} and is now "
                f"{found}; check the node, then replay from an empty database"
            )

    def _final_of(self, raw: Any, head: Header) -> int:
        """The node's final block where its answer is plausible, else head - CONFIRMATIONS."""
        try:
            found = facts.header(raw).number
        except Unavailable:
            found = -1  # no such tag, or nonsense under it
        if found >= 0 and 0 <= head.number - found <= MAX_FINALITY:
            return found
        return max(0, head.number - self.confirmations)


def _numbered(raw: Any, number: int) -> Header:
    """The header of a block that was asked for by number: another one proves nothing."""
    found = facts.header(raw)
    if found.number != number:
        raise Unavailable(f"the node sent block {found.number} for block {number}")
    return found
