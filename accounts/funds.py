"""The funds page put together: the form and its review, rows of the index, the wallet now."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from urllib.parse import urlencode

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import (
    actions,
    analytics,
    attention,
    clock,
    closing,
    follow,
    forms,
    limits,
    links,
    money,
    pages,
    pages_refunds,
    refunds,
    selectors,
    services,
    signers,
    trust,
)
from accounts import pages_transaction as shown
from accounts.errors import NodeError, Problem, Refused, TooMany
from accounts.models import Intent, State, User
from accounts.preview_money import PROVIDER_RESERVE
from accounts.problems import of_node
from attestation import selectors as attestation
from attestation.selectors import ServiceKey, StandingView
from chain import selectors as chain
from ledger import listed
from ledger import selectors as ledger
from ledger.records import Account, Position
from ledger.spending import Pair, charged


def page(
    user: User,
    query: Mapping[str, str],
    *,
    whole: bool = True,
    before_review: Callable[[], None] = lambda: None,
) -> pages.FundsPage:
    """`query` is what the address bar says: action, amount, account (`service:provider`), provider,
    recipient. `whole`: not a review that was asked for by itself; `before_review` may refuse one.
    """
    found, head = ledger.account(user.address), chain.head()
    least, now = selectors.limits(), clock.now_unix(head)
    week = _week(user) if found.positions else {}
    form = forms.build(query, found, least, week)
    if form.empty and (head.state != "fresh" or head.catching_up):
        form = replace(form, empty=False)  # the chain may know of an account
    if form.then:
        here = forms.next_step("/account?" + urlencode(query))
        before = selectors.led_to(user, here) if here else None
        form = replace(form, done=shown.title(before.action, before.params) if before else "")
    moving = selectors.under_way(user)
    last = max((one.block or 0 for one in moving), default=0)
    left = next((one for one in moving if whole and _left(one, form)), None)
    current = left or next(iter(moving), None)
    review = None
    if not form.error and not left and forms.parameters(form) is not None:
        before_review()
        review = _review(user, form, least, found, now)
    current = None if review else current
    standings = attestation.standings(map(ServiceKey.of, found.positions))
    offers = signers.listed({p.provider for p in found.positions})
    return pages.FundsPage(
        address=user.address,
        balances=pages.balances(found, selectors.wallet_balance(user.address, last)),
        has_account=found.ledger is not None,
        rows=position_rows(found.positions, now, week, standings, offers),
        form=form,
        review=review,
        current=shown.transaction(follow.look(current)) if current else None,
        freshness=head,
        contracts=selectors.contract_addresses(),
        closing=closing.checklist(found, now, clock.lead_seconds(head))
        if form.action == "delete_ledger" and found.ledger
        else (),
        cards=attention.cards(user, found.positions, now, timezone.now(), standings, offers),
        more_at_unix=_more_at(form, found, now, clock.lead_seconds(head)) if review else 0,
    )


def _more_at(form: pages.Form, found: Account, now: int, lead: int) -> int:
    """When the next refund unlocks at the provider that is retrieved from; 0 without one."""
    chosen = next((choice.value for choice in form.choices if choice.selected), "")
    there = [p for p in found.positions if form.action == "retrieve" and links.pair(p) == chosen]
    waiting = (row for row in refund_rows(there, now, lead) if not row.unlocked)
    return next((row.ticks_to for row in waiting), 0)


def _week(user: User) -> dict[Pair, int]:
    """Neuron that each sub-account was charged in the last seven days (1 query)."""
    since = timezone.now() - timedelta(days=analytics.PACE_DAYS)
    return charged(user.address, since, since).recent


def position_rows(
    positions: Sequence[Position],
    now: int,
    week: Mapping[Pair, int] = MappingProxyType({}),
    standings: Mapping[ServiceKey, StandingView] | None = None,
    offers: signers.Offers = MappingProxyType({}),
) -> tuple[pages.PositionRow, ...]:
    """Sub-accounts with what our checks say about each service, and whether lists leave it out (2
    queries, one less with `standings`). Nobody is led to bring more where evidence failed or, by
    `offers`, the service is gone."""
    words = standings or attestation.standings(map(ServiceKey.of, positions))
    hidden = listed.left_out([position.provider for position in positions])
    return tuple(
        pages.PositionRow(
            position=position,
            name=position.service_name or position.kind,
            top_up=top_up(position, words, offers),
            retrieve=links.form("retrieve", position),
            trust=links.form("acknowledge_signer", position)
            + ("&trust=no" if position.acknowledged else ""),
            unlocked=position.unlocked(now),
            spendable=links.spendable(position),
            verdict=words[ServiceKey.of(position)].overall,
            hidden=(position.serving, position.provider) in hidden,
            week=week.get((position.serving, position.provider), 0),
            days=analytics.lasts(position, week.get((position.serving, position.provider), 0)),
        )
        for position in positions
    )


def top_up(
    position: Position, standings: Mapping[ServiceKey, StandingView], offers: signers.Offers
) -> str:
    """The form that brings more there; "" where only leaving helps: its evidence failed, or the
    service is gone."""
    if standings[ServiceKey.of(position)].failed or signers.gone(offers, position):
        return ""
    return links.form("transfer", position)


def top_ups(positions: Collection[Position]) -> dict[Pair, str]:
    """The same of each by its pair (2 queries, none without positions)."""
    standings = attestation.standings(map(ServiceKey.of, positions))
    offers = signers.listed({position.provider for position in positions})
    return {(p.serving, p.provider): top_up(p, standings, offers) for p in positions}


def refund_rows(
    positions: Iterable[Position], now: int, lead: int = 0
) -> tuple[pages_refunds.RefundRow, ...]:
    """Open refund entries, the next to unlock first."""
    rows = [
        pages_refunds.RefundRow(
            provider=position.provider,
            service_name=position.service_name,
            amount=refund.amount,
            created_at_unix=refund.created_at_unix,
            unlocks_at_unix=refund.unlocks_at_unix,
            unlocked=refund.unlocks_at_unix <= now,
            collect=links.form("retrieve", position),
            lead=lead,
        )
        for position in positions
        for refund in position.refunds
    ]
    return tuple(sorted(rows, key=lambda row: row.unlocks_at_unix))


# --- the review -----------------------------------------------------------------------------------


def _left(current: Intent, form: pages.Form) -> bool:
    """Whether the address, reloaded or come back to, asks for what is under way already, or for a
    step of a flow that has arrived and was led on from by itself: then that goes on, and the same
    again is reviewed where a person asks for it.
    """
    params = None if form.error else forms.parameters(form)
    if params is None or current.action != form.action:
        return False
    step = current.state in (State.INDEXED, State.FINAL) and current.then == form.then != ""
    if current.state in selectors.ENDED and not step:
        return False
    try:
        return bool(current.params == actions.jsonable(actions.parse(form.action, params)))
    except Problem:
        return False


def _review(
    user: User, form: pages.Form, least: tuple[int, int] | None, found: Account, now: int
) -> shown.Review | None:
    """The checked preview of what the form says; None while there is nothing to review. `now` is
    the chain's clock."""
    params = forms.parameters(form)
    if params is None:
        return None
    review = reviewed(user, form.action, params)
    if review.code == "LedgerNotExists" and form.action == "delete_ledger":
        review = replace(
            review, heading=_("Nothing to close"), title=_("You have no compute account."), fix=""
        )
        return replace(review, fixes=())
    if review.code == "TooManyRefunds":
        review = replace(review, fix=_next_slot(review.fix, params, found, now))
    if better := _legal(review, form.action, params, found):
        going_on = (replace(o, path=shown.going_on(o.path, form.then)) for o in better)
        review = replace(review, fixes=tuple(going_on))
    if form.action == "transfer" and review.code in _NEED_A_DEPOSIT:
        others = (link for link in review.fixes if "action=deposit" not in link.path)
        review = replace(review, fixes=(_deposit_first(review, params, least, form.then), *others))
    return replace(review, then=form.then, retry=shown.going_on(review.retry, form.then))


def _legal(
    review: shown.Review, action: str, params: Mapping[str, object], found: Account
) -> tuple[shown.Link, ...]:
    """The same with the amounts that the contract takes, where it refused this one (ux.md 3)."""
    available = found.ledger.available if found.ledger else 0
    if review.code == "MinimumDepositRequired":
        rest, least = review.arguments
        if action != "withdraw":
            tuning = str(params.get("service_name", "")).startswith("fine-tuning")
            if action == "transfer" and not tuning:  # with less it would answer nothing
                least += PROVIDER_RESERVE
            return (_with(action, params, least),)
        available = rest + int(str(params["amount"]))
        partly = (_with(action, params, available - least),) if available > least else ()
        return (_everything(params, available), *partly)
    if review.code == "InsufficientBalance" and action == "withdraw" and available:
        return (_everything(params, available),)
    return ()


def _with(action: str, params: Mapping[str, object], amount: int) -> shown.Link:
    other = {**params, "amount": amount}
    return shown.Link(shown.title(action, other), shown.form_path(action, other))


def _everything(params: Mapping[str, object], available: int) -> shown.Link:
    link = _with("withdraw", params, available)
    return replace(link, label=_("Withdraw all %(amount)s 0G") % {"amount": money.short(available)})


def _next_slot(fix: str, params: Mapping[str, object], found: Account, now: int) -> str:
    """With when the oldest of five refunds unlocks, as far as the index has them."""
    providers, name = params["providers"], params.get("service_name")
    full = [
        queue.next_slot_unix
        for queue in refunds.full_queues(found.positions, now)
        if isinstance(providers, list) and queue.provider in providers
        if name in (None, queue.service_name)
    ]
    if not full:
        return fix
    left = trust.ago(timedelta(seconds=max(full) - now))
    return _("The next place is free in %(time)s, when the oldest unlocks.") % {"time": left}


#: Refusals of a transfer that a deposit mends.
_NEED_A_DEPOSIT = ("LedgerNotExists", "InsufficientAvailableBalance")


def _deposit_first(
    review: shown.Review,
    params: Mapping[str, object],
    least: tuple[int, int] | None,
    then: str,
) -> shown.Link:
    """Step 1 of 2: a deposit of what is missing, after which the transfer goes on, and `then`."""
    wanted = int(str(params["amount"]))
    if review.code == "LedgerNotExists":
        missing = max(wanted, least[0] if least else 0)
    else:
        available, required = review.arguments
        missing = required - available
    query = {
        "action": "deposit",
        "amount": money.exact(missing),
        "then": shown.going_on(shown.form_path("transfer", params), then),
    }
    return shown.Link(
        _("Step 1 of 2: deposit %(amount)s 0G") % {"amount": money.short(missing)},
        "/account?" + urlencode(query),
    )


def reviewed(user: User, action: str, params: Mapping[str, object]) -> shown.Review:
    """The checked preview of an action, or in words why it cannot be done."""
    try:
        limits.spend("review", user.address, limit=300, seconds=60)
        checked = trust.with_words(services.check(action, dict(params), user.address))
    except TooMany as problem:
        return _unchecked(problem, action, params)
    except Problem as problem:
        return _blocked(problem, action, params)
    except NodeError as error:
        return _unchecked(of_node(error), action, params)
    return shown.review(checked, actions.jsonable(checked.params))


def _blocked(problem: Problem, action: str, params: Mapping[str, object]) -> shown.Review:
    """It is known to fail, and why."""
    contract = isinstance(problem, Refused)
    fixes = tuple(replace(link, label=_(link.label)) for link in _FIXES.get(problem.code, ()))
    at = {name: params[name] for name in ("provider", "service_name") if name in params}
    if problem.code in _AT_PROVIDER and "provider" in at:
        label, form = _AT_PROVIDER[problem.code]
        fixes = (shown.Link(_(label), shown.form_path(form, at)),)
    return shown.Review(
        state=State.BLOCKED,
        heading=_("Would be refused")
        if contract
        else _(_HEADINGS.get(problem.code, gettext_noop("Cannot be sent"))),
        title=_FIELD.sub(lambda field: _named(field[1]), problem.title),
        fix=problem.fix,
        code=problem.code,
        fixes=fixes,
        # The contract is in the middle of another call for this account: a block later it is not.
        retry=shown.form_path(action, params) if problem.code == "LedgerLocked" else "",
        arguments=problem.arguments if isinstance(problem, Refused) else (),
    )


#: Refusals that another action at the same provider mends.
_AT_PROVIDER = {
    "CannotRevokeWithNonZeroBalance": (gettext_noop("Retrieve from this provider"), "retrieve"),
    "AccountNotExists": (gettext_noop("Transfer to this provider"), "transfer"),
}


def _unchecked(problem: Problem, action: str, params: Mapping[str, object]) -> shown.Review:
    """Nobody could be asked: that says nothing about the transaction."""
    return shown.Review(
        state=State.DRAFT,
        heading=_("Not checked"),
        title=problem.title,
        fix=problem.fix,
        code=problem.code,
        retry=shown.form_path(action, params),
    )


#: How programs name a field; a form has its label.
_FIELD = re.compile(r"`params\.(\w+)`")
_NAMES = {
    "amount": gettext_noop("The amount"),
    "provider": gettext_noop("The provider"),
    "recipient": gettext_noop("The recipient"),
    "token_ids": gettext_noop("The token ids"),
}


def _named(field: str) -> str:
    return _(_NAMES[field]) if field in _NAMES else "The " + field.replace("_", " ")


_HEADINGS = {
    "insufficient_wallet_balance": gettext_noop("Your wallet holds too little"),
    "invalid_request": gettext_noop("Not complete"),
}


_FIXES: dict[str, tuple[shown.Link, ...]] = {
    "LedgerNotExists": (
        shown.Link(gettext_noop("Create your account"), "/account?action=deposit"),
    ),
    "InsufficientAvailableBalance": (
        shown.Link(gettext_noop("Deposit"), "/account?action=deposit"),
        shown.Link(gettext_noop("Retrieve from providers"), "/account?action=retrieve"),
    ),
    "TooManyRefunds": (shown.Link(gettext_noop("See refunds"), "/account/refunds"),),
    "TooManyProvidersForService": (
        shown.Link(gettext_noop("Close the account"), "/account?action=delete_ledger"),
    ),
    "MustWithdrawAllFundsFirst": (
        shown.Link(gettext_noop("Withdraw"), "/account?action=withdraw"),
        shown.Link(gettext_noop("Retrieve from providers"), "/account?action=retrieve"),
    ),
    "LedgerExists": (shown.Link(gettext_noop("Deposit"), "/account?action=deposit"),),
    "ProviderCannotBeUser": (shown.Link(gettext_noop("Find another provider"), "/"),),
    "CallFailed": (shown.Link(gettext_noop("Find another provider"), "/"),),
    "PreviousDeliverableNotAcknowledged": (
        shown.Link(gettext_noop("See your tasks"), "/fine-tuning#tasks"),
    ),
}
