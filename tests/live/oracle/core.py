"""Calls, pairs and money: what the ledger and both serving contracts share."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from eth_abi.abi import encode
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak

from tests.live.oracle.state import ONE, Pair, Refusal, Side, State

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
DOMAIN_NAMES = {"inference": "0G Inference Serving", "fine_tuning": "0G Fine-Tuning Serving"}


class Core:
    """`minimum` and `first_transfer` are the ledger's constants in neuron."""

    def __init__(
        self,
        owner: str,
        addresses: dict[str, str],
        chain_id: int,
        minimum: int = 3 * ONE,
        first_transfer: int = ONE,
    ) -> None:
        self.owner = owner
        self.addresses = addresses
        self.chain_id = chain_id
        self.minimum = minimum
        self.first_transfer = first_transfer
        self.state = State()
        self.logs: list[tuple[str, str, dict[str, Any]]] = []
        self.now = 0

    def perform(
        self, contract: str, function: str, sender: str, value: int, args: Any, now: int
    ) -> list[tuple[str, str, dict[str, Any]]]:
        """Applies one call at block time `now`; returns its logs or raises Refusal unchanged."""
        before = pickle.dumps(self.state)  # a deepcopy took more time than the contracts
        self.logs, self.now = [], now
        handler: Callable[..., None] = getattr(self, f"{contract}_{function}", None) or getattr(
            self, f"serving_{function}"
        )
        first = () if contract == "ledger" else (self.state.sides[contract],)
        try:
            handler(*first, sender, value, *args)
        except Refusal:
            self.state = pickle.loads(before)
            raise
        return self.logs

    def _log(self, contract: str, name: str, **arguments: Any) -> None:
        self.logs.append((contract, name, arguments))

    # ---- money inside a pair ---------------------------------------------------------------

    @staticmethod
    def _cancel(pair: Pair, amount: int) -> None:
        while amount > 0 and pair.refunds:
            newest, created = pair.refunds.pop()
            if newest > amount:
                pair.refunds.append((newest - amount, created))
            amount -= min(newest, amount)

    def _balance_log(self, side: Side, pair: Pair) -> None:
        self._log(
            side.kind,
            "BalanceUpdated",
            user=pair.user,
            provider=pair.provider,
            amount=pair.balance,
            pendingRefund=pair.pending,
        )

    def _charge(self, side: Side, pair: Pair, fee: int) -> None:
        self._cancel(pair, max(0, fee - (pair.balance - pair.pending)))
        pair.balance -= fee
        self.state.ledgers[pair.user]["total"] -= fee
        self.state.earned[pair.provider] = self.state.earned.get(pair.provider, 0) + fee
        self._log(
            "ledger", "FundSpent", user=pair.user, service=self.addresses[side.kind], amount=fee
        )
        self._balance_log(side, pair)

    def _pair(self, side: Side, user: str, provider: str) -> Pair:
        pair = side.pairs.get((user, provider))
        if pair is None or not pair.live:
            raise Refusal("AccountNotExists", user, provider)
        return pair

    def recover(self, kind: str, struct: bytes, signature: bytes) -> str | None:
        """Only 65 bytes with v 27/28 and low s count (contracts.md 7)."""
        if len(signature) != 65 or signature[64] not in (27, 28):
            return None
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        if s > HALF_ORDER:
            return None
        domain = keccak(
            keccak(text=DOMAIN_TYPE)
            + keccak(text=DOMAIN_NAMES[kind])
            + keccak(text="1")
            + encode(["uint256", "address"], [self.chain_id, self.addresses[kind]])
        )
        try:
            key = Signature(vrs=(signature[64] - 27, r, s)).recover_public_key_from_msg_hash(
                keccak(b"\x19\x01" + domain + struct)
            )
        except BadSignature:
            return None
        return key.to_checksum_address()
