"""The one form of the funds page, from the address bar to checked parameters (and back).

A review is a link: everything the form says stands in the query, so it works without a script, can
be sent to somebody, and survives a reload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.utils.translation import gettext as _

from accounts import actions, links, money, pages
from accounts import pages_transaction as shown
from accounts.addresses import short
from accounts.preview_money import PROVIDER_RESERVE
from ledger import selectors as ledger
from ledger.records import Account
from ledger.spending import Pair
from protocol.addresses import is_address

_MAX_CHOICES = 200
_MAX_PATH, _MAX_ASKED = 400, 1000
_FIELDS = ("action", "account", "provider", "amount", "recipient", "slots", "trust")
_MAX_TYPED = 60
_MAX_SLOTS_TYPED = 2000  # all of them one by one need 1,163
_HUNDREDTH = money.NEURON // 100
_SLOTS = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")
_RANGE, _BETWEEN = re.compile(r"\s*[-–]\s*"), re.compile(r"[\s,;]+")
_PLAYGROUND = re.compile(r"/playground/(?:chat|images|audio|embeddings)(?:/[0-9a-f-]{36})?")
_TUNING = re.compile(r"/fine-tuning/(?:new/[0-9a-f-]{36}/(?:price|sign)|tasks/[0-9a-f-]{36})")
_AMOUNT = ("deposit", "transfer", "withdraw", "deposit_for")
_PROVIDER = ("transfer", "retrieve", "acknowledge_signer", "revoke_tokens", "revoke_all_tokens")


def build(
    query: Mapping[str, str],
    account: Account,
    least: tuple[int, int] | None,
    week: Mapping[Pair, int],
) -> pages.Form:
    """The form `query` asks for: action, amount, account (`service:provider`) or provider,
    recipient, trust. `least` are the contract's minimums (first deposit, first transfer), `week`
    what each sub-account was charged in seven days.
    """
    action = query.get("action", "transfer" if "provider" in query else "deposit")
    if action not in shown.FORMS:
        action = "deposit"
    tabs = [name for name in shown.FORMS if name in shown.TABS or name == action]
    typed = query.get("amount", "")[:_MAX_TYPED]
    choices = _choices(action, query, account) if action in _PROVIDER else ()
    chosen = next((choice.value for choice in choices if choice.selected), "")
    then = next_step(query.get("then", ""))
    amounts = _amounts(action, account, least, week, chosen)
    return pages.Form(
        action=action,
        links=tuple(
            shown.Link(_(shown.FORMS[name]), f"/account?action={name}", name == action)
            for name in tabs
        ),
        takes_amount=action in _AMOUNT,
        takes_provider=action in _PROVIDER,
        amount=typed,
        error=_wrong_slots(query.get("slots", "")) if action == "revoke_tokens" else _error(typed),
        hint=_hint(action, account, least),
        recipient=query.get("recipient", "")[:_MAX_TYPED],
        slots=query.get("slots", "")[:_MAX_SLOTS_TYPED] if action == "revoke_tokens" else "",
        trust=query.get("trust") != "no",
        then=then,
        choices=choices,
        presets=_presets(action, amounts, chosen, then),
        slider=_slider(action, account, least),
        empty=action == "withdraw" and account.ledger is None,
    )


def parameters(form: pages.Form) -> dict[str, object] | None:
    """The action's parameters as the form has them, unchecked; None while something is missing."""
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
        if form.action == "retrieve":
            params["providers"] = [provider]
        else:
            params["provider"] = provider
        if name and form.action not in ("revoke_tokens", "revoke_all_tokens"):
            params["service_name"] = name
    if form.action == "deposit_for":
        params["recipient"] = form.recipient.strip()
    if form.action == "revoke_tokens":
        params["token_ids"] = slots_of(form.slots)
        if not params["token_ids"]:
            return None
    if form.action == "acknowledge_signer":
        params["acknowledged"] = form.trust
    return params


def next_step(text: str) -> str:
    """What a flow goes on with: a form of this page with known fields only (and what follows it in
    turn), or a chat or a fine-tuning that the money was missing in. Empty for anything else.
    """
    if len(text) > _MAX_ASKED:
        return ""
    try:
        parts = urlsplit(text)
        query = dict(parse_qsl(parts.query))
    except ValueError:
        return ""
    if parts.scheme or parts.netloc:
        return ""
    if _PLAYGROUND.fullmatch(parts.path):
        provider = query.get("provider", "")
        return parts.path + (f"?provider={provider}" if is_address(provider) else "")
    if _TUNING.fullmatch(parts.path):
        return parts.path
    if parts.path != "/account":
        return ""
    kept = {name: query[name] for name in _FIELDS if name in query}
    if back := next_step(query.get("then", "")):
        kept["then"] = back
    path = "/account?" + urlencode(kept)
    return path if query.get("action") in shown.FORMS and len(path) <= _MAX_PATH else ""


def slots_of(text: str) -> list[int]:
    """Slots of a list like `3, 7-9`; pieces that are none, or reach beyond 255, are left out."""
    return sorted({slot for piece in _pieces(text) for slot in _slots(piece)})


def _slots(piece: str) -> range:
    match = _SLOTS.fullmatch(piece)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    return range(first, last + 1) if last <= 255 else range(0)


def _pieces(text: str) -> list[str]:
    return _BETWEEN.split(_RANGE.sub("-", text[:_MAX_SLOTS_TYPED].strip(" ,;"))) if text else []


def _wrong_slots(text: str) -> str:
    """What of a list of slots is none: whoever revokes must not think that it went too."""
    wrong = next((piece for piece in _pieces(text) if piece and not _slots(piece)), "")
    if not wrong:
        return ""
    return _("“%(text)s” is no slot. Write numbers from 0 to 254, for example 3, 7-9.") % {
        "text": wrong[:_MAX_TYPED]
    }


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
        return _("Your first deposit opens the account: at least %(amount)s 0G.") % {
            "amount": money.told(least[0])
        }
    if action == "transfer":
        return _(
            "At least %(amount)s 0G opens an account at a provider. Inference providers keep 1 0G "
            "of it in reserve, so hold more than that there."
        ) % {"amount": money.told(least[1])}
    if action == "withdraw" and account.ledger is not None:
        return _("Withdraw everything, or leave at least %(amount)s 0G.") % {
            "amount": money.told(least[0])
        }
    return ""


def _amounts(
    action: str,
    account: Account,
    least: tuple[int, int] | None,
    week: Mapping[Pair, int],
    chosen: str,
) -> list[tuple[str, int]]:
    """Amounts that are legal and usual, in words and neuron: by the contract's rules, by what the
    last week cost, and all there is.
    """
    available = account.ledger.available if account.ledger else 0
    if least is None:
        return [(_("Everything"), available)] if action == "withdraw" and available else []
    if action == "deposit":
        # Only the first one has a minimum.
        lowest = 0 if account.ledger else least[0]
        usual = [*dict.fromkeys((lowest or least[1], 5 * money.NEURON))]
        return [
            *((f"{money.told(amount)} 0G", amount) for amount in usual),
            *(
                one
                for one in _paces(sum(week.values()))
                if one[1] >= lowest and one[1] not in usual
            ),
        ]
    if action == "transfer" and chosen and available:
        held = {links.pair(p): (p.serving, p.provider) for p in account.positions}
        spent = week.get(held[chosen], 0) if chosen in held else 0
        kept = 0 if chosen in held or chosen.startswith("fine-tuning") else PROVIDER_RESERVE
        first = least[1] + kept
        found = [(f"{money.told(first)} 0G", first), *_paces(spent)]
        fit = [one for one in found if one[1] < available]
        if chosen not in held and available < least[1]:
            return fit  # the contract refuses a first transfer of less
        return [*fit, (_("All that is available"), available)]
    if action == "withdraw" and available:
        rest = available - least[0]
        partly = _("%(amount)s 0G, leaving the minimum") % {"amount": money.short(rest)}
        return [(_("Everything"), available), *([(partly, rest)] if rest > 0 else [])]
    return []


def _paces(week: int) -> list[tuple[str, int]]:
    """What one week and four cost where the last cost `week` neuron, rounded up to a hundredth of
    0G; nothing of what costs less than that.
    """
    paces = ((week, _("1 week ≈ %(amount)s 0G")), (4 * week, _("4 weeks ≈ %(amount)s 0G")))
    rounded = (
        (label, -(-cost // _HUNDREDTH) * _HUNDREDTH) for cost, label in paces if cost >= _HUNDREDTH
    )
    return [(label % {"amount": money.told(amount)}, amount) for label, amount in rounded]


def _presets(
    action: str, amounts: list[tuple[str, int]], chosen: str, then: str
) -> tuple[shown.Link, ...]:
    """The same as links that fill the form."""
    fields = {"action": action, **({"account": chosen} if chosen else {})}
    more = {"then": then} if then else {}
    return tuple(
        shown.Link(label, "/account?" + urlencode({**fields, "amount": money.exact(a), **more}))
        for label, a in amounts
    )


def _slider(action: str, account: Account, least: tuple[int, int] | None) -> pages.Slider | None:
    """Only where there is something to choose: with little in the account, all is the only legal
    amount (contracts.md 3.1 `refund`).
    """
    available = account.ledger.available if account.ledger else 0
    if action != "withdraw" or least is None or available <= least[0]:
        return None
    return pages.Slider(available, available - least[0])


def _choices(
    action: str, query: Mapping[str, str], account: Account
) -> tuple[pages.ProviderChoice, ...]:
    """Sub-accounts first, then (for a transfer) the listed services one has no account with yet."""
    chosen, provider = query.get("account", ""), _parsed(":" + query.get("provider", ""))
    offered = _offered(_parsed(chosen) or provider) if action == "transfer" else {}
    found: dict[str, str] = {}
    for position in account.positions:
        value = links.pair(position)
        held = money.short(position.balance)
        name = offered.get(value, position.service_name)
        found[value] = _("%(provider)s · %(name)s · %(held)s 0G held") % {
            "provider": short(position.provider),
            "name": name,
            "held": held,
        }
    for value, name in offered.items():
        found.setdefault(value, f"{short(value.rpartition(':')[2])} · {name}")
    if not chosen and provider:
        of_provider = [v for v in found if v.endswith(":" + provider[1])]
        chosen = next((v for v in of_provider if v.startswith("inference")), "")
        chosen = chosen or next(iter(of_provider), ":" + provider[1])
    unlisted = _parsed(chosen) if chosen not in found else None
    if unlisted:
        # Only a transfer may go to a provider that holds nothing yet.
        said = (
            _("%(provider)s · not listed")
            if action == "transfer"
            else _("%(provider)s · holds nothing of yours")
        )
        found[chosen] = said % {"provider": short(unlisted[1])}
    return tuple(pages.ProviderChoice(v, label, v == chosen) for v, label in found.items())


def _offered(asked: tuple[str, str] | None) -> dict[str, str]:
    """Listed services by the name of the pair, with what they offer: some, and all of the provider
    that is asked for."""
    queries = [ledger.ServiceQuery(), *([ledger.ServiceQuery(q=asked[1])] if asked else [])]
    return {
        links.pair(listing): (listing.model or listing.kind)[:60]
        for wanted in queries
        for listing in ledger.services(wanted, page_size=_MAX_CHOICES).items
    }


def _parsed(choice: str) -> tuple[str, str] | None:
    """(service name, provider) of a choice; None for anything that is not one."""
    name, _, provider = choice.rpartition(":")
    try:
        return name[:100], actions.address(provider)
    except ValueError:
        return None
