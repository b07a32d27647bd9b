"""The funds page put together: form, review and rows from the index, the chain and the person's
input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from django.utils import timezone

from accounts import actions, follow, limits, money, pages, selectors, services
from accounts import pages_transaction as shown
from accounts.errors import NodeError, Problem
from accounts.models import User
from accounts.problems import of_node
from chain import selectors as chain
from ledger import selectors as ledger
from ledger.records import Account, Position

_MAX_CHOICES = 200
_MAX_TYPED = 60


def page(user: User, query: Mapping[str, str]) -> pages.FundsPage:
    """`query` is what the address bar says: action, amount, account (`service:provider`), provider,
    recipient.
    """
    found = ledger.account(user.address)
    least = selectors.limits()
    action = query.get("action", "deposit")
    if action not in shown.FORMS:
        action = "deposit"
    form = _form(action, query, found, least)
    review = None if form.error else _review(user, form, query)
    current = None if review else selectors.under_way(user)
    return pages.FundsPage(
        address=user.address,
        balances=pages.balances(found, selectors.wallet_balance(user.address)),
        has_account=found.ledger is not None,
        rows=position_rows(found.positions, int(timezone.now().timestamp())),
        form=form,
        review=review,
        current=shown.transaction(follow.look(current)) if current else None,
        freshness=chain.head(),
        least_deposit=least[0] if least else None,
        contracts=selectors.contract_addresses(),
    )


def position_rows(positions: Iterable[Position], now: int) -> tuple[pages.PositionRow, ...]:
    return tuple(
        pages.PositionRow(
            position=position,
            name=position.service_name or position.kind,
            top_up=_link("transfer", position),
            retrieve=_link("retrieve", position),
            unlocked=position.unlocked(now),
        )
        for position in positions
    )


def refund_rows(positions: Iterable[Position], now: int) -> tuple[pages.RefundRow, ...]:
    """Open refund entries, the next to unlock first."""
    rows = [
        pages.RefundRow(
            provider=position.provider,
            service_name=position.service_name,
            amount=refund.amount,
            created_at_unix=refund.created_at_unix,
            unlocks_at_unix=refund.unlocks_at_unix,
            unlocked=refund.unlocks_at_unix <= now,
            collect=_link("retrieve", position),
        )
        for position in positions
        for refund in position.refunds
    ]
    return tuple(sorted(rows, key=lambda row: row.unlocks_at_unix))


def _link(action: str, position: Position) -> str:
    return "/account?" + urlencode(
        {"action": action, "account": f"{position.service_name}:{position.provider}"}
    )


# --- the form -------------------------------------------------------------------------------------


def _form(
    action: str, query: Mapping[str, str], account: Account, least: tuple[int, int] | None
) -> pages.Form:
    links = tuple(
        shown.Link(label, f"/account?action={name}", name == action)
        for name, label in shown.FORMS.items()
    )
    typed = query.get("amount", "")[:_MAX_TYPED]
    return pages.Form(
        action=action,
        links=links,
        amount=typed,
        error=_error(typed),
        hint=_hint(action, account, least),
        recipient=query.get("recipient", "")[:_MAX_TYPED],
        choices=_choices(action, query, account) if action in ("transfer", "retrieve") else (),
        presets=_presets(action, account, least),
    )


def _error(typed: str) -> str:
    try:
        money.parse(typed or "0")
    except ValueError as error:
        return str(error)
    return ""


def _hint(action: str, account: Account, least: tuple[int, int] | None) -> str:
    if least is None:
        return ""
    if action == "deposit" and account.ledger is None:
        return f"Your first deposit opens the account: at least {money.exact(least[0])} 0G."
    if action == "transfer":
        return (
            f"At least {money.exact(least[1])} 0G opens an account at a provider. "
            "Providers keep 1 0G in reserve, so hold more than that."
        )
    if action == "withdraw" and account.ledger is not None:
        return f"Withdraw everything, or leave at least {money.exact(least[0])} 0G."
    return ""


def _presets(
    action: str, account: Account, least: tuple[int, int] | None
) -> tuple[shown.Link, ...]:
    """Amounts that are legal and usual, as links that fill the form."""
    amounts: list[tuple[str, int]] = []
    if least and action == "deposit":
        first = least[0] if account.ledger is None else least[1]
        amounts = [(f"{money.exact(a)} 0G", a) for a in dict.fromkeys((first, 5 * money.NEURON))]
    elif action == "withdraw" and account.ledger and account.ledger.available:
        amounts = [("Everything", account.ledger.available)]
        if least and account.ledger.available > least[0]:
            rest = account.ledger.available - least[0]
            amounts.append((f"{money.short(rest)} 0G, leaving the minimum", rest))
    return tuple(
        shown.Link(label, "/account?" + urlencode({"action": action, "amount": money.exact(a)}))
        for label, a in amounts
    )


def _choices(
    action: str, query: Mapping[str, str], account: Account
) -> tuple[pages.ProviderChoice, ...]:
    """Sub-accounts first, then (for a transfer) the listed services one has no account with yet."""
    chosen, provider = query.get("account", ""), query.get("provider", "")
    found: dict[str, str] = {}
    for position in account.positions:
        value = f"{position.service_name}:{position.provider}"
        held = money.short(position.balance)
        found[value] = f"{_short(position.provider)} · {position.service_name} · {held} 0G held"
    if action == "transfer":
        for listing in ledger.services(ledger.ServiceQuery(), page_size=_MAX_CHOICES).items:
            value = f"{listing.service_name}:{listing.provider}"
            name = (listing.model or listing.kind)[:60]
            found.setdefault(value, f"{_short(listing.provider)} · {name}")
    if not chosen and provider:
        of_provider = [v for v in found if v.endswith(f":{provider}")]
        chosen = next((v for v in of_provider if v.startswith("inference")), "")
        chosen = chosen or next(iter(of_provider), f":{provider}")
    unlisted = _parsed(chosen) if chosen not in found else None
    if unlisted:
        found[chosen] = f"{_short(unlisted[1])} · not listed"
    return tuple(pages.ProviderChoice(v, label, v == chosen) for v, label in found.items())


def _short(address: str) -> str:
    return f"{address[:6]}…{address[-4:]}"


def _parsed(choice: str) -> tuple[str, str] | None:
    """(service name, provider) of a choice; None for anything that is not one."""
    name, _, provider = choice.rpartition(":")
    try:
        return name[:100], actions.address(provider)
    except ValueError:
        return None


# --- the review -----------------------------------------------------------------------------------


def _review(user: User, form: pages.Form, query: Mapping[str, str]) -> shown.Review | None:
    """The checked preview of what the form says; None while there is nothing to review."""
    params = _params(form, query)
    if params is None:
        return None
    try:
        limits.spend("review", user.address, limit=120, seconds=60)
        checked = services.check(form.action, params, user.address)
    except Problem as problem:
        return _blocked(problem)
    except NodeError as error:
        return _blocked(of_node(error))
    return shown.review(checked, actions.jsonable(checked.params))


def _blocked(problem: Problem) -> shown.Review:
    return shown.Review(
        state="blocked",
        title=problem.title,
        fix=problem.fix,
        code=problem.code,
        fixes=_FIXES.get(problem.code, ()),
    )


_FIXES = {
    "LedgerNotExists": (shown.Link("Create your account", "/account?action=deposit"),),
    "InsufficientAvailableBalance": (
        shown.Link("Deposit", "/account?action=deposit"),
        shown.Link("Retrieve from providers", "/account?action=retrieve"),
    ),
    "TooManyRefunds": (shown.Link("See refunds", "/account/refunds"),),
}


def _params(form: pages.Form, query: Mapping[str, str]) -> dict[str, object] | None:
    params: dict[str, object] = {}
    if form.takes_amount:
        if not form.amount.strip():
            return None
        params["amount"] = str(money.parse(form.amount))
    if form.takes_provider:
        choice = _parsed(next((c.value for c in form.choices if c.selected), ""))
        if choice is None:
            return None
        name, provider = choice
        params |= {"providers": [provider]} if form.action == "retrieve" else {"provider": provider}
        params |= {"service_name": name} if name else {}
        if form.action == "retrieve" and "review" not in query and "account" not in query:
            return None
    if form.action == "deposit_for":
        params["recipient"] = form.recipient.strip()
    return params
