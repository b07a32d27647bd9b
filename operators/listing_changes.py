"""What a change of a listing means: the difference, and what follows from it (contracts.md 6.6,
6.7). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import money
from ledger.fold_services import RESETS
from operators.listing import (
    FIELDS,
    INFERENCE,
    LABELS,
    PRICES,
    QUOTA,
    Values,
    inside,
    price_text,
    unit_of,
    unseen,
)

_LONG = 400


@dataclass(frozen=True)
class Change:
    """One field, before and after, in words; `before` is None at the first registration."""

    field: str
    label: str
    before: str | None
    after: str | None
    resets: bool = False


@dataclass(frozen=True)
class Line:
    """A consequence; `tone` is a notice's: empty, warn or bad."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Customers:
    """Who holds money at the service: how many accounts, and how much in all (neuron)."""

    count: int = 0
    held: int = 0

    @property
    def text(self) -> str:
        if not self.count:
            return _("nobody holds money here yet")
        said = ngettext(
            "%(count)s customer with %(amount)s 0G",
            "%(count)s customers with %(amount)s 0G",
            self.count,
        )
        return self.fill(said)

    def fill(self, sentence: str) -> str:
        """`%(count)s` and `%(amount)s` of a sentence about them."""
        return sentence % {"count": f"{self.count:,}", "amount": money.short(self.held)}

    @property
    def told(self) -> str:
        """Who hears of a change: nobody gets an alert that they did not ask for."""
        if not self.count:
            return _("Nobody holds money here yet.")
        return self.fill(
            ngettext(
                "%(count)s customer with %(amount)s 0G can read it under Changes, and is told "
                "only after asking for that.",
                "%(count)s customers with %(amount)s 0G can read it under Changes; only those who "
                "asked for that are told.",
                self.count,
            )
        )


def differing(kind: str, before: Values | None, after: Values) -> tuple[str, ...]:
    """Fields whose value changes; all of them at a registration."""
    if before is None:
        return FIELDS[kind]
    old, new = _flat(before), _flat(after)
    return tuple(name for name in FIELDS[kind] if old[name] != new[name])


def changes(kind: str, before: Values | None, after: Values) -> tuple[Change, ...]:
    """The difference field by field; of additionalInfo key by key."""
    old, new = _flat(before) if before else {}, _flat(after)
    found: list[Change] = []
    for name in differing(kind, before, after):
        resets = name in RESETS[kind]
        if name == "additional_info":
            found += _info_changes(old.get(name), new[name], resets)
            continue
        then = _words(name, old[name], old) if before else None
        found.append(Change(name, _(LABELS[name]), then, _words(name, new[name], new), resets))
    return tuple(found)


def _flat(values: Values) -> Values:
    return {**values, **values.get("quota", {})}


def _words(name: str, value: Any, values: Values) -> str:
    if name in PRICES:
        unit = unit_of(name, str(values.get("service_type", "")))
        return _("%(price)s %(unit)s (%(neuron)s neuron per %(each)s)") % {
            "price": price_text(value, unit),
            "unit": _(unit.label),
            "neuron": f"{value:,}",
            "each": _(unit.each),
        }
    if name == "occupied":
        return _("yes") if value else _("no")
    if name == "models":
        return _cut(", ".join(value))
    return _cut(str(value)) or _("nothing")


def _info_changes(before: str | None, after: str, resets: bool) -> Iterator[Change]:
    label = _(LABELS["additional_info"])
    old, new = _object(before or "{}"), _object(after or "{}")
    if old is None or new is None:
        yield Change("additional_info", label, before and _cut(before), _cut(after), resets)
        return
    keys = [key for key in {**old, **new} if old.get(key, _NONE) != new.get(key, _NONE)]
    if not keys and before is not None:
        yield Change(
            "additional_info",
            label,
            _("as it is spelled now"),
            _("the same, spelled otherwise"),
            resets,
        )
    for key in keys:
        then = _json(old[key]) if key in old else None
        now = _json(new[key]) if key in new else None
        yield Change("additional_info", _cut(f"{label} · {key[:60]}"), then, now, resets)


_NONE = object()


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _json(value: Any) -> str:
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    """A text from the chain, made fit to be read: it may hold anything."""
    text = "".join("\ufffd" if unseen(c) else c for c in text)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


# --- what follows ---------------------------------------------------------------------------------


def consequences(
    kind: str,
    before: Values | None,
    after: Values,
    *,
    acknowledged: bool,
    customers: Customers,
    stake: int | None,
) -> tuple[Line, ...]:
    """What publishing `after` brings; `stake` (neuron) is what a registration locks, None where
    that is not known."""
    if before is None:
        return _registration(kind, stake)
    changed = set(differing(kind, before, after))
    return tuple(_update(kind, before, after, changed, acknowledged, customers))


def _registration(kind: str, stake: int | None) -> tuple[Line, ...]:
    locked = _(
        "%(amount)s 0G of stake leave your wallet, once. The contract returns all of it "
        "when you remove the service; it is never cut."
    )
    own = _(
        "This wallet cannot be its own customer (ProviderCannotBeUser): try the service "
        "with another wallet."
    )
    return (
        *([] if stake is None else [Line(locked % {"amount": money.short(stake)})]),
        Line(
            _("You earn nothing until the owner of the 0G contract acknowledges your signer."),
            "warn",
        ),
        *([Line(own)] if kind == INFERENCE else []),  # the fine-tuning contract does not mind
    )


def _update(
    kind: str,
    before: Values,
    after: Values,
    changed: set[str],
    acknowledged: bool,
    customers: Customers,
) -> Iterator[Line]:
    resetting = [inside(name) for name in FIELDS[kind] if name in changed & RESETS[kind]]
    if resetting and acknowledged:
        yield Line(
            _(
                "Resets acknowledgement (%(fields)s): you earn nothing until the owner of the 0G "
                "contract acknowledges your signer again. Settle what is open first."
            )
            % {"fields": ", ".join(resetting)},
            "bad",
        )
    elif resetting or not acknowledged:
        yield Line(
            _(
                "Your signer is not acknowledged: you earn nothing until the owner of the 0G "
                "contract does that."
            ),
            "warn",
        )
    else:
        yield Line(_("Your signer stays acknowledged."))
    if changed & set(PRICES):
        dearer = _raise(before, after)
        yield Line(" ".join((_("The new price takes effect at once."), customers.told, *dearer)))
    if "url" in changed:
        yield Line(
            " ".join(
                (
                    _("Requests go to the new URL at once."),
                    customers.told,
                    _(
                        "Keep the old one up for a while: answers under way come from there. Our "
                        "checks ask the new one from now on."
                    ),
                )
            ),
            "warn",
        )
    if "tee_signer" in changed and customers.count:
        yield Line(
            customers.fill(
                ngettext(
                    "%(count)s customer with %(amount)s 0G is shown that this is not the signer "
                    "of before.",
                    "%(count)s customers with %(amount)s 0G are shown that this is not the signer "
                    "of before.",
                    customers.count,
                )
            ),
            "warn",
        )
    if "model" in changed or "models" in changed:
        yield Line(f"{_('Requests that name the old model may fail.')} {customers.told}")
    if changed & {"occupied", *QUOTA}:
        yield Line(_("Hardware and occupancy are your own word, and shown as such."))


def _raise(before: Values, after: Values) -> Iterator[str]:
    """How much dearer the dearest change makes it."""
    most = max(
        (
            (after[name] - before[name]) * 100 // before[name]
            for name in PRICES
            if name in after and before.get(name)
        ),
        default=0,
    )
    if most > 0:
        yield _("Up to %(percent)s %% dearer than now.") % {"percent": f"{most:,}"}


def removal(kind: str, stake: int, customers: Customers) -> tuple[Line, ...]:
    """What removing a service brings."""
    back = (
        _("Your stake of %(amount)s 0G returns to this wallet in the same transaction.")
        % {"amount": money.short(stake)}
        if stake
        else _("No stake is on file for this wallet, so none returns.")
    )
    lines = [Line(back)]
    if customers.count:
        lines.append(
            Line(
                customers.fill(
                    ngettext(
                        "%(count)s customer with %(amount)s 0G keeps the money and can retrieve "
                        "it.",
                        "%(count)s customers with %(amount)s 0G keep the money and can retrieve "
                        "it.",
                        customers.count,
                    )
                )
                + " "
                + _(
                    "What is owed and not settled can be collected only after you register again: "
                    "settle first."
                ),
                "bad",
            )
        )
    else:
        lines.append(Line(_("Nobody holds money here, so nobody loses anything.")))
    lines.append(
        Line(
            _("Registering again needs a new stake, and the owner's acknowledgement anew.")
            + " "
            + _("Stop your broker before: the one of this project registers when it starts."),
            "warn",
        )
    )
    return tuple(lines)
