"""Who may ask: the key, the account behind it, both acknowledgements, the money
(provider-protocol.md 1.2, 2.1, 5.2), in the order and with the words of the reference server.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protocol import fees, keys
from protocol.abi import checksum
from protocol.keys import KeyFields, KeyRejected
from provider.chain import Account, Chain
from provider.debts import Debts
from provider.errors import ChainError, Refused

MAX_CACHED = 4096
LOOKUPS_AT_ONCE = 8
# Of wallets that have no account as far as is known. They cost nothing: whoever comes with many
# waits for them, and no customer does.
NEW_LOOKUPS_AT_ONCE = 4
# So many strangers wait, forgers among them; the others are told to come back.
MOST_WAITING = 64
# Looked up for a key whose signature is wrong, only to refuse it in the documented order: few at
# once and never remembered, so that a forger waits for forgers and nobody else.
FORGED_LOOKUPS_AT_ONCE = 2
# A refusal from the cache is checked again on the chain, at most this often per user.
RECHECK_SECONDS = 1.0


class Accounts:
    """Sub-accounts as the chain shows them, remembered for `seconds`, and never past a settlement:
    its money would count as the user's once more."""

    def __init__(self, chain: Chain, debts: Debts, seconds: float) -> None:
        self._chain = chain
        self._debts = debts
        self._seconds = seconds
        self._known: OrderedDict[str, tuple[float, Account]] = OrderedDict()
        self._unknown: OrderedDict[str, tuple[float, None]] = OrderedDict()
        self._slots = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._new_slots = asyncio.Semaphore(NEW_LOOKUPS_AT_ONCE)
        self._forged_slots = asyncio.Semaphore(FORGED_LOOKUPS_AT_ONCE)
        self._waiting = 0

    def last(self, user: str) -> Account | None:
        """The account as last seen, None where that is not known or from before a settlement."""
        at, account = self._known.get(user) or (float("-inf"), None)
        return account if at > self._debts.paid_at(user) else None

    async def claimed(self, user: str) -> Account | None:
        """The account of a user who has not proven to be one. Raises ChainError, and Refused where
        too many wait."""
        async with self._stranger(self._forged_slots):
            return await self._chain.account(user)

    async def get(self, user: str, *, max_age: float | None = None) -> Account | None:
        """The account, at most `max_age` seconds old (default: as configured).

        Raises ChainError, and Refused where too many wait who have none.
        """
        oldest = time.monotonic() - (self._seconds if max_age is None else max_age)
        known = self._known.get(user) or self._unknown.get(user)
        if known is not None and known[0] > max(oldest, self._debts.paid_at(user)):
            return known[1]
        customer = user in self._known or self._debts.owed(user)
        async with self._slots if customer else self._stranger(self._new_slots):
            while True:
                now = time.monotonic()
                account = await self._chain.account(user)
                if now > self._debts.paid_at(user):
                    break  # else a settlement was booked while we asked
        self._known.pop(user, None)
        self._unknown.pop(user, None)
        if account is None:
            self._unknown[user] = (now, None)
        else:
            self._known[user] = (now, account)
        for kept in (self._known, self._unknown):
            while len(kept) > MAX_CACHED:
                kept.popitem(last=False)
        return account

    @asynccontextmanager
    async def _stranger(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise Refused(503, "too many unknown wallets wait", {"Retry-After": "1"})
        self._waiting += 1
        try:
            async with slots:
                yield
        finally:
            self._waiting -= 1


class Gate:
    """Decides about one request at a time; every refusal is a Refused with its documented text."""

    def __init__(self, chain: Chain, debts: Debts, seconds: float) -> None:
        self._chain = chain
        self._debts = debts
        self._accounts = Accounts(chain, debts, seconds)
        self._seconds = seconds
        self._acknowledged: tuple[float, bool] = (float("-inf"), False)
        self._good_keys: OrderedDict[bytes, None] = OrderedDict()

    async def session(self, authorization: str | None) -> str:
        """The user (EIP-55) whose key this is."""
        try:
            key = keys.parse_authorization(authorization)
            keys.check_fields(key.fields, provider=self._chain.provider, now=int(time.time()))
            user = checksum(key.fields.address)
            forged = self._signature_problem(key)
            await self._check_revocation(user, key.fields, forged=forged is not None)
            if forged is not None:
                raise forged
        except KeyRejected as refusal:
            raise Refused(400, f"validate session: {refusal}") from refusal
        except ChainError as error:
            raise Refused(503, str(error)) from error
        return user

    async def _check_revocation(self, user: str, fields: KeyFields, *, forged: bool) -> None:
        if forged:
            account = await self._accounts.claimed(user)
        else:
            account = await self._accounts.get(user)
            try:
                keys.check_revocation(fields, account.revocation if account else None)
            except KeyRejected:
                account = await self._accounts.get(user, max_age=RECHECK_SECONDS)
        keys.check_revocation(fields, account.revocation if account else None)

    def _signature_problem(self, key: keys.SignedKey) -> KeyRejected | None:
        """Why the signature is wrong; one that was good stays good and is recovered only once."""
        seen = hashlib.sha256(f"{key.raw}|{key.signature}".encode()).digest()
        if seen in self._good_keys:
            return None
        try:
            keys.check_signature(key)
        except KeyRejected as problem:
            return problem
        self._good_keys[seen] = None
        if len(self._good_keys) > MAX_CACHED:
            self._good_keys.popitem(last=False)
        return None

    async def acknowledged(self, user: str) -> None:
        """The user has an account and both sides trust the signer."""
        account = await self._account(user)
        if account is None or not account.acknowledged:
            account = await self._account(user, fresh=True)
        if account is None:
            raise Refused(
                400,
                "validate request: get account from contract, account not exist: "
                "execution reverted: AccountNotExists",
            )
        if not account.acknowledged:
            raise Refused(
                400,
                "validate request: user not acknowledge the provider, please use "
                "acknowledgeProviderSigner function in sdk first, it will take effect in 2 minutes",
            )
        if not await self._service_acknowledged():
            raise Refused(400, "validate request: service not acknowledge the tee signer")

    async def afford(self, user: str, estimate: int) -> int:
        """The sub-account covers reserve, debts, answers in flight and this one's `estimate`.

        Returns what is left above all that, in neuron. The caller must reserve before it awaits
        anything else.
        """
        for fresh in (False, True):
            account = await self._account(user, fresh=fresh)
            if account is None:
                continue
            lack = self._debts.shortfall(user, account.balance, account.pending_refund, estimate)
            if lack is None:
                free = account.balance - account.pending_refund
                return free - fees.MINIMUM_RESERVE - self._debts.committed(user) - estimate
        if account is None:
            lack = self._debts.shortfall(user, 0, 0, estimate)
        assert lack is not None
        text = fees.shortfall_text(lack, self._chain.provider)
        raise Refused(400, f"validate request: {text}")

    def left(self, user: str) -> int | None:
        """What the sub-account, as last seen, has above debts and answers under way, in neuron;
        None where it is not known."""
        account = self._accounts.last(user)
        if account is None:
            return None
        return account.balance - account.pending_refund - self._debts.committed(user)

    async def _account(self, user: str, *, fresh: bool = False) -> Account | None:
        try:
            return await self._accounts.get(user, max_age=RECHECK_SECONDS if fresh else None)
        except ChainError as error:
            raise Refused(503, str(error)) from error

    async def _service_acknowledged(self) -> bool:
        """Whether the contract owner trusts our signer; a no is asked again soon."""
        at, known = self._acknowledged
        if time.monotonic() - at > (self._seconds if known else RECHECK_SECONDS):
            try:
                service = await self._chain.service()
            except ChainError as error:
                raise Refused(503, str(error)) from error
            known = bool(service and service["teeSignerAcknowledged"])
            self._acknowledged = (time.monotonic(), known)
        return known
