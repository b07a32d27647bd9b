"""What still stands between a person and a paid answer, in the order in which it can be solved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from accounts.models import User
from inference import costs
from inference.options import MAX_TOKENS
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing
from moderation import selectors as moderation
from protocol import fees

Code = Literal[
    "signed_out",
    "no_service",
    "signer_not_accepted",
    "not_verified",
    "hidden",
    "no_ledger",
    "not_funded",
    "not_acknowledged",
    "ready",
]

#: Offered by the button where that much is there; 1 0G of it stays in the provider's reserve.
TOP_UP = 2 * fees.NEURON_PER_0G
_USUAL_REQUEST_BYTES = 4096
_HUNDREDTH = fees.NEURON_PER_0G // 100


@dataclass(frozen=True)
class Readiness:
    """`have` is what the sub-account may spend now, `need` what one answer may take, `available`
    what the compute account can still transfer; neuron. `why`: half a sentence, for not_verified.
    """

    code: Code
    have: int = 0
    need: int = 0
    available: int = 0
    why: str = ""
    #: What a transfer to the provider takes back first, before what is available.
    refunding: int = 0

    @property
    def ready(self) -> bool:
        return self.code == "ready"

    @property
    def lacking(self) -> int:
        """What is missing for one answer; neuron."""
        return max(0, self.need - self.have)

    @property
    def reach(self) -> int:
        """The most that a transfer to the provider can bring now; neuron."""
        return self.available + self.refunding

    @property
    def wanted(self) -> int:
        """A transfer that is enough for a while: TOP_UP, or what one answer needs; neuron."""
        return max(TOP_UP, -(-self.lacking // fees.NEURON_PER_0G) * fees.NEURON_PER_0G)

    @property
    def transfer(self) -> int:
        """A transfer that is possible now and enough: what is `wanted`, or all there is; 0 where
        that is too little; neuron.
        """
        return min(self.wanted, self.reach) if self.reach >= self.lacking else 0

    def deposit(self, least: int) -> int:
        """What the transfer `wanted` still lacks in the compute account, rounded up to a hundredth
        of 0G; `least` is the contract's minimum for the first deposit, 0 for a further one; neuron.
        """
        return max(least, -(-(self.wanted - self.reach) // _HUNDREDTH) * _HUNDREDTH)


@dataclass(frozen=True)
class Held:
    """What a person has for a service: `available` of the compute account (None: there is none),
    `spendable` of the sub-account there, whether its signer was `acknowledged`; neuron.
    """

    available: int | None
    spendable: int
    acknowledged: bool | None
    #: Moderators hid the service, and the person has not said to ask it all the same.
    hidden: bool = False
    #: All that the sub-account holds, the reserve included.
    balance: int = 0


def held(user: User, listing: Listing) -> Held:
    """What `user` has for a service now (6 queries)."""
    hidden = moderation.unconfirmed(user, listing.serving, listing.provider)
    purse = ledger.account(user.address).ledger
    position = ledger.position(user.address, listing.provider, listing.serving)
    available = None if purse is None else purse.available
    if position is None:
        return Held(available, 0, None, hidden)
    return Held(available, position.spendable, position.acknowledged, hidden, position.balance)


def check(
    user: User | None,
    listing: Listing | None,
    request_bytes: int = 0,
    max_tokens: int = MAX_TOKENS,
    picture_tokens: int = 0,
    *,
    fee: int | None = None,
    has: Held | None = None,
    named: bool = False,
) -> Readiness:
    """Whether `user` may ask the service now (6 queries; none where it is known what he `has`); by
    the index, so a block behind at most. `fee` (neuron) is what the request costs at most where it
    is no chat. `named`: by a program that names the provider, which nobody can ask for a word.

    The provider decides in the end: it also counts what it has not settled yet.
    """
    if listing is None or not listing.url or listing.removed:
        return Readiness("no_service")
    if not listing.tee_signer_acknowledged:
        return Readiness("signer_not_accepted")
    if user is None:
        return Readiness("signed_out")
    has = has or held(user, listing)
    if has.hidden and not named:
        return Readiness("hidden")
    tariff = fees.tariff(listing.input_price, listing.output_price, listing.additional_info)
    if fee is None:
        fee = costs.most(tariff, request_bytes or _USUAL_REQUEST_BYTES, max_tokens, picture_tokens)
    need = fees.MINIMUM_RESERVE + fee
    if has.available is None:
        return Readiness("no_ledger", need=need)
    refunding = has.balance - has.spendable
    if has.spendable < need:
        return Readiness(
            "not_funded", has.spendable, need, has.available, refunding=max(0, refunding)
        )
    if not has.acknowledged:
        return Readiness("not_acknowledged", has.spendable, need, has.available)
    return Readiness("ready", has.spendable, need, has.available)


def chat_service(provider: str) -> Listing | None:
    """The chat service of a provider: in the recommended serving contract, else the newest."""
    return ledger.service(Kind.INFERENCE.value, provider)


def one_each(
    listings: Iterable[Listing], key: Callable[[Listing], object] = lambda x: x.provider
) -> list[Listing]:
    """One service of each provider (or `key`), in their order: in the recommended contract, else
    the first."""
    found: dict[object, Listing] = {}
    for listing in listings:
        known = found.get(key(listing))
        if known is None or (listing.recommended and not known.recommended):
            found[key(listing)] = listing
    return list(found.values())
