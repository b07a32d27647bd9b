"""How much a provider would let one spend right now, term by term (provider-protocol.md 5.2, 5.5):
balance − refunding − unsettled − reserve.

Only the provider knows what it has not settled yet. It is asked with the person's own key, through
`net.client`, and may be slow, silent or wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import crypto, keys
from accounts.models import ProviderKey, User
from accounts.preview_money import PROVIDER_RESERVE
from attestation import trust
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Position
from net.client import Client
from net.errors import BadAnswer, BadStatus, NetError, TooLarge
from net.limits import JsonLimits, Limits

#: A page waits for it, so not long.
LIMITS = Limits(connect=2.0, first_byte=4.0, between=2.0, total=4.0, max_bytes=4096)
_SHAPE = JsonLimits(max_depth=4, max_bytes=4096)
_AMOUNT = re.compile(r"[0-9]{1,40}")
_NO_AMOUNT = gettext_noop("The provider's answer is not an amount.")


@dataclass(frozen=True)
class Unsettled:
    """`neuron` None: not known, and `why` says so in a sentence."""

    neuron: int | None
    why: str = ""


@dataclass(frozen=True)
class Spendable:
    """The four terms of one pair. `neuron` is their sum, an upper bound while `unsettled` is not
    known; below zero nothing can be spent and the provider refuses.
    """

    position: Position
    unsettled: Unsettled
    reserve: int

    @property
    def balance(self) -> int:
        return self.position.balance

    @property
    def refunding(self) -> int:
        return -self.position.pending_refund

    @property
    def owed(self) -> int:
        return -(self.unsettled.neuron or 0)

    @property
    def kept(self) -> int:
        return -self.reserve

    @property
    def neuron(self) -> int:
        return self.balance + self.refunding + self.owed + self.kept

    @property
    def usable(self) -> int:
        return max(0, self.neuron)

    @property
    def missing(self) -> int:
        return max(0, -self.neuron)


def of(user: User, position: Position) -> Spendable:
    """The terms of the person's pair, the provider asked just now."""
    inference = position.kind == Kind.INFERENCE
    unsettled = _ask(user, position) if inference else Unsettled(0)
    return Spendable(position, unsettled, PROVIDER_RESERVE if inference else 0)


def _ask(user: User, position: Position) -> Unsettled:
    services = [s for s in ledger.services_of(position.provider) if s.serving == position.serving]
    if not services or not services[0].url:
        return Unsettled(None, _("This provider lists no service, so there is nobody to ask."))
    now = timezone.now()
    key = keys.usable(user, position.provider, now)
    if key is None:
        return Unsettled(
            None, _("It tells only who shows a key. Your first question to it makes a key.")
        )
    return _asked(services[0].url, user.address, key)


def _asked(url: str, address: str, key: ProviderKey) -> Unsettled:
    try:
        bearer = key.bearer()
    except crypto.Unreadable:
        return Unsettled(None, _("The stored key can no longer be read. Make a new one."))
    where = f"{url.rstrip('/')}/v1/user/{address}/unsettledfee"
    try:
        answer = async_to_sync(_fetch)(where, bearer)
    except BadStatus as error:
        return Unsettled(
            None, _("The provider refused to say (status %(status)s).") % {"status": error.status}
        )
    except (BadAnswer, TooLarge):
        return Unsettled(None, _(_NO_AMOUNT))
    except NetError:
        return Unsettled(None, _("The provider did not answer in time."))
    keys.touch(key, timezone.now())
    amount = answer.get("unsettledFee") if isinstance(answer, dict) else None
    if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
        return Unsettled(None, _(_NO_AMOUNT))
    return Unsettled(int(amount))


async def _fetch(url: str, bearer: str) -> Any:
    policy = trust.provider_policy()
    async with Client(policy, LIMITS) as client:
        return await client.get_json(url, headers={"Authorization": bearer}, shape=_SHAPE)
