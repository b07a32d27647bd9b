"""What a provider's own broker says it is owed and has not settled, where its operator lets it say
so (docs/broker.md): asked in the background, kept, shown with its age."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from attestation import trust
from ledger.models import Kind
from ledger.records import Listing
from net import strictjson
from net.client import Client
from net.errors import BadStatus, NetError
from net.limits import JsonLimits, Limits
from operators import words
from operators.models import Debt
from probes.asking import user_agent
from protocol import unsettled
from protocol.unsettled import BadUnsettled

NOT_SHARED = "not shared"
#: What is older is not shown as the present.
STALE_AFTER = dt.timedelta(minutes=15)
#: A broker's clock may be so far ahead of ours.
_AHEAD = dt.timedelta(minutes=2)
_LIMITS = Limits(connect=5, first_byte=8, between=5, total=12, max_bytes=unsettled.MAX_BYTES)
_SHAPE = JsonLimits(max_depth=3, max_bytes=unsettled.MAX_BYTES)


@dataclass(frozen=True)
class Owed:
    """Sums of the brokers that share them: neuron and users, counted at the oldest `at`.

    `services` of `asked` shared something recent. `silent`: why the others did not, in words.
    """

    asked: int
    services: int
    fee: int
    users: int
    at_risk_fee: int
    at_risk_users: int
    at: dt.datetime | None
    silent: tuple[str, ...]


def known(listings: Iterable[Listing], now: dt.datetime) -> Owed:
    """What the brokers of these listings last said (1 query)."""
    wanted = {(one.provider, one.serving): one for one in listings if _asked(one)}
    rows = Debt.objects.filter(provider__in={provider for provider, _ in wanted})
    found = {(row.provider, row.serving): row for row in rows}
    good, silent = [], []
    for key, listing in wanted.items():
        row, name = found.get(key), {"service": listing.service_name}
        if row is None:
            silent.append(_("Your broker of %(service)s was not asked yet.") % name)
        elif row.error == NOT_SHARED:
            silent.append(_("Your broker of %(service)s does not share this.") % name)
        elif row.error or row.counted_at is None:
            silent.append(
                _("Your broker of %(service)s: %(error)s")
                % {**name, "error": words.translated(row.error)}
            )
        elif now - row.counted_at > STALE_AFTER:
            silent.append(_("What your broker of %(service)s said last is too old.") % name)
        else:
            good.append(row)
    return Owed(
        asked=len(wanted),
        services=len(good),
        fee=sum(row.fee for row in good),
        users=sum(row.users for row in good),
        at_risk_fee=sum(row.at_risk_fee for row in good),
        at_risk_users=sum(row.at_risk_users for row in good),
        at=min((row.counted_at for row in good if row.counted_at), default=None),
        silent=tuple(silent),
    )


def _asked(listing: Listing) -> bool:
    return listing.kind == Kind.INFERENCE and not listing.removed


async def ask(listings: Iterable[Listing]) -> list[Debt]:
    """Ask the brokers of these listings; never raises for what they do. The rows are not saved."""
    async with Client(trust.provider_policy(), _LIMITS) as client:
        return [await _one(client, listing) for listing in listings if _asked(listing)]


async def _one(client: Client, listing: Listing) -> Debt:
    row = Debt(serving=listing.serving, provider=listing.provider, asked_at=timezone.now())
    url = listing.url.rstrip("/") + unsettled.PATH
    try:
        async with client.open("GET", url, headers={"User-Agent": user_agent()}) as answer:
            document = strictjson.loads(await answer.read(), _SHAPE)
        said = unsettled.parse(
            document,
            provider=listing.provider,
            chain_id=settings.CHAIN_ID,
            contract=listing.serving,
        )
        counted = dt.datetime.fromtimestamp(said.at, dt.UTC)
    except BadStatus as error:
        row.error = (
            NOT_SHARED if error.status == 404 else words.ANSWERED_STATUS.format(status=error.status)
        )
        return row
    except BadUnsettled as error:
        row.error = words.DOES_NOT_HOLD.format(error=error)
        return row
    except (NetError, ValueError, OverflowError, OSError):
        row.error = words.NO_USABLE
        return row
    if counted > row.asked_at + _AHEAD:
        row.error = words.CLOCK_AHEAD
        return row
    row.counted_at, row.fee, row.users = counted, said.fee, said.users
    row.at_risk_fee, row.at_risk_users = said.at_risk_fee, said.at_risk_users
    return row


def keep(rows: Iterable[Debt]) -> None:
    """Each in the place of what was said before (1 query)."""
    columns = [f.name for f in Debt._meta.fields if f.name not in ("id", "provider", "serving")]
    Debt.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["provider", "serving"],
        update_fields=columns,
    )
