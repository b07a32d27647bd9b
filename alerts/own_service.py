"""What an operator is told about a service of their own (features.md I10). Reads only, except that
what a broker says is asked for again in the background.

What cannot be known now (a silent node, a broker that says nothing) stays as it was told last.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from django.core.cache import cache
from django.db.models import Max, Q, Sum

from accounts import links, money, node
from accounts.addresses import short
from accounts.errors import NodeError
from alerts import words
from alerts.conditions import Found, Hit, newest, oldest, probed, since_made
from alerts.models import Held, Rule
from ledger import selectors as ledger
from ledger.models import ACCEPTED, Service, Settlement
from ledger.records import Contract
from ledger.statistics import last_paid
from operators import debts, tasks
from operators.models import Debt
from probes import selectors as probes
from probes.models import Health

#: A certificate that ends within so many days is told of, and again when so few are left.
DAYS, LAST_DAYS = 14, 3
#: What our probes saw longer ago says nothing about now.
_SEEN_LATELY = dt.timedelta(days=2)
#: A wallet's balance is asked for at most so often, and a broker's debts.
_BALANCE_SECONDS, _DEBTS_SECONDS = 60, 300
_NODE_SECONDS = 3.0
_SILENT = "alerts:gas:silent"


def offers(address: str) -> bool:
    """Whether a wallet has a listed service (1 query)."""
    return Service.current.filter(provider=address, removed=False).exists()


def certificate(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Certificates of listed services that end soon, as our probes saw them (2 queries)."""
    owners = {rule.user.address for rule in rules}
    rows = probed(owners).filter(tls_days__lte=DAYS, checked_at__gt=now - _SEEN_LATELY)
    known = ledger.contracts()
    found: dict[str, list[Hit]] = defaultdict(list)
    for row in rows.order_by("serving"):
        contract = known.get(row.serving)
        if contract and row.tls_days is not None:
            days = probes.tls_days(row, now)
            found[row.provider].append(_certificate(row, contract, days or 0, now))
    return {rule.pk: found.get(rule.user.address, []) for rule in rules}


def _certificate(row: Health, contract: Contract, days: int, now: dt.datetime) -> Hit:
    subject = f"{row.serving}:{row.provider}"
    ended = words.CERTIFICATE_ENDED.format(service=row.service_name[:60])
    return Hit(
        subject=subject,
        occurrence=f"{subject}:{now.isoformat()}",
        title=words.CERTIFICATE.format(service=row.service_name[:60], days=days)
        if days >= 0  # whole days: with none left it is still good today
        else ended,
        text=words.RENEW,
        path=links.service_at(contract, row.provider, "performance"),
        provider=row.provider,
        value="last" if days <= LAST_DAYS else "",
    )


def unpaid(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Final settlements since a rule was made that did not pay all that was asked (1 query)."""
    found = unpaid_since({rule.user.address for rule in rules}, oldest(rules, now))
    return {rule.pk: since_made(rule, found.get(rule.user.address, ())) for rule in rules}


def unpaid_since(providers: Iterable[str], since: dt.datetime) -> Mapping[str, list[Hit]]:
    """By provider, newest first: one hit for each transaction (1 query). Raises Crowded."""
    short_of, owners = ~Q(status__in=ACCEPTED) | Q(unsettled__gt=0), set(providers)
    rows = Settlement.objects.filter(
        short_of, provider__in=owners, at__gt=since, pending=False, tx_hash__isnull=False
    ).filter(block__gte=last_paid(at__lte=since))
    summed = rows.values("provider", "tx_hash").annotate(missed=Sum("unsettled"), when=Max("at"))
    found: dict[str, list[Hit]] = defaultdict(list)
    # Whoever writes a result off (`abandoned`) asks for nothing.
    summed = summed.filter(missed__gt=0)
    for row in newest(summed.order_by("-when", "tx_hash"), len(owners)):
        found[row["provider"]].append(
            Hit(
                subject=str(row["tx_hash"]),
                occurrence=f"unpaid:{row['tx_hash']}",
                title=words.UNPAID.format(amount=money.short(int(row["missed"]))),
                text=words.WHY_UNPAID,
                path=f"/operator/settlements/{row['tx_hash']}",
                provider=row["provider"],
                at=row["when"],
            )
        )
    return found


def low_gas(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Wallets that hold less than their rule says, by the node's word (1 query, 1 call)."""
    balances = _balances({rule.user.address for rule in rules})
    before = _as_told(rules)
    found: dict[int, Sequence[Hit]] = {}
    for rule in rules:
        balance = balances.get(rule.user.address)
        if balance is None:
            found[rule.pk] = before.get(rule.pk, [])
        elif balance < (rule.threshold or 0):
            title = words.GAS.format(amount=money.short(balance), wallet=short(rule.user.address))
            text = f"{words.BELOW.format(amount=money.told(rule.threshold or 0))} {words.GAS_ENDS}"
            found[rule.pk] = [Hit("gas", f"gas:{now.isoformat()}", title, text, "/operator")]
        else:
            found[rule.pk] = []
    return found


def _balances(addresses: set[str]) -> dict[str, int]:
    """Native balances, neuron, of those that are known; a silent node is left alone for a while."""
    names = {f"alerts:gas:{address}": address for address in sorted(addresses)}
    kept = cache.get_many(names)
    found = {names[name]: int(value) for name, value in kept.items()}
    missing = [address for address in names.values() if address not in found]
    if not missing or cache.get(_SILENT):
        return found
    try:
        asked = [("eth_getBalance", [address, "latest"]) for address in missing]
        answers = node.call_many(asked, timeout=_NODE_SECONDS)
        new = {a: node.quantity(value) for a, value in zip(missing, answers, strict=True)}
    except NodeError:
        cache.set(_SILENT, 1, timeout=_BALANCE_SECONDS)
        return found
    cache.set_many(
        {f"alerts:gas:{address}": str(value) for address, value in new.items()},
        timeout=_BALANCE_SECONDS,
    )
    return {**found, **new}


def unsettled(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Brokers that count more than their rule says, by their own word (3 queries)."""
    owners = {rule.user.address for rule in rules}
    listed = Service.current.filter(provider__in=owners, removed=False)
    offering = set(listed.values_list("provider", "serving"))
    rows: dict[str, list[Debt]] = defaultdict(list)
    for row in Debt.objects.filter(provider__in=owners).exclude(error=debts.NOT_SHARED):
        if (row.provider, row.serving) in offering:  # of others there is nobody to ask
            rows[row.provider].append(row)
    before = _as_told(rules)
    found: dict[int, Sequence[Hit]] = {}
    for owner in {provider for provider, _ in offering}:
        if cache.add(f"alerts:debts:{owner}", 1, timeout=_DEBTS_SECONDS):
            tasks.refresh_soon(owner)
    for rule in rules:
        mine = rows[rule.user.address]
        fresh = [row for row in mine if _said_lately(row, now)]
        owed = sum(row.fee for row in fresh)
        if owed > (rule.threshold or 0):
            title = words.UNSETTLED.format(amount=money.short(owed))
            text = words.ABOVE.format(amount=money.told(rule.threshold or 0))
            path = "/operator/customers"
            found[rule.pk] = [Hit("owed", f"owed:{now.isoformat()}", title, text, path)]
        else:
            found[rule.pk] = before.get(rule.pk, []) if len(fresh) < len(mine) else []
    return found


def _said_lately(row: Debt, now: dt.datetime) -> bool:
    return not row.error and row.counted_at is not None and row.counted_at > now - debts.STALE_AFTER


def _as_told(rules: Sequence[Rule]) -> dict[int, list[Hit]]:
    """What these rules hold already, as it is found again: no news, and no end of it (1 query)."""
    found: dict[int, list[Hit]] = defaultdict(list)
    for row in Held.objects.filter(rule__in=rules):
        found[row.rule_id].append(Hit(row.subject, "", "", "", "", value=row.value))
    return found
