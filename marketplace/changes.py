"""One change of a listing or of our verdict on it, in words. Pure; the stored shapes are those of
`ledger.fold_services`: objects of changed fields, whole snapshots at registration and removal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import links as account_links
from ledger import words
from ledger.records import ChangeEntry
from ledger.stored import fields, integer
from ledger.turns import Types
from marketplace import formats, links, verdicts
from marketplace.history import VERDICTS, VerdictEntry
from marketplace.parts import kind_label, models_title, name
from marketplace.selectors import Offered
from operators.listing import UNBILLED

TEXT_LENGTH = 400

_VERDICTS = {
    "verification_regressed": gettext_noop("Verification became worse"),
    "verification_recovered": gettext_noop("Verified as before again"),
}
_TONES = {
    "registered": "ok",
    "url": "warn",
    "model": "warn",
    "type": "warn",
    "verifiability": "warn",
    "signer": "warn",
    "acknowledged": "ok",
    "unacknowledged": "bad",
    "removed": "bad",
    "verification_regressed": "bad",
    "verification_recovered": "ok",
}
#: What each kind of change is called, and how it should be read.
CHANGES = {
    sort: (title, _TONES.get(sort, "")) for sort, title in {**words.CHANGES, **_VERDICTS}.items()
}
#: Checks named in one line.
_CHECKS = 5


@dataclass(frozen=True)
class ChangeRow:
    """A line of a timeline; `before` and `after` are None where there was or is nothing to show.
    `service`: the model that it names now."""

    title: str
    tone: str
    before: str | None
    after: str | None
    at: dt.datetime
    block: int
    tx_hash: str | None
    pending: bool
    provider: str
    provider_path: str
    service_path: str
    service: str
    kind_label: str
    report_path: str = ""

    @classmethod
    def of(cls, entry: ChangeEntry, offered: Offered, *, alone: bool) -> ChangeRow:
        """`alone`: on the service's own page, where naming provider and service again is noise.

        What is `offered` names the service, as it is now, and decides the unit of prices by the
        types it had then; a snapshot brings its own.
        """
        title, tone = CHANGES.get(entry.change, ("", ""))
        title = words.change(entry.change, entry.after) or _(title) or name(entry.change)
        before, after = texts(entry.change, entry.before, entry.after, offered.types)
        return cls(
            title=title,
            tone=tone,
            before=before,
            after=after,
            at=entry.at,
            block=entry.block,
            tx_hash=entry.tx_hash,
            pending=entry.pending,
            provider="" if alone else entry.provider,
            provider_path=links.provider_path(entry.provider),
            service_path="" if alone else account_links.service_at(entry, entry.provider),
            service=models_title(offered.models),
            kind_label=kind_label(entry.kind),
            report_path=f"/verifications/{entry.report}" if isinstance(entry, VerdictEntry) else "",
        )


def texts(change: str, before: Any, after: Any, types: Types) -> tuple[str | None, str | None]:
    """Before and after of a change, each in words. `types`: what the listing was around it."""
    old, new = fields(before), fields(after)
    if change in ("registered", "removed"):
        return _summary(old, types.before), _summary(new, types.after)
    if change == "occupied":
        return None, None
    if change in VERDICTS:
        return _verdict(old), _verdict(new)
    if change == "unacknowledged":
        return _values(new), None
    if change == "price":
        return _price_texts(old, new, types)
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return (
        _values({key: old[key] for key in differing if key in old}),
        _values({key: new[key] for key in differing if key in new}),
    )


def _verdict(fields: Mapping[str, Any]) -> str:
    """The word, and the checks that became worse."""
    worse = [str(check) for check in fields.get("checks") or ()]
    named = ", ".join(worse[:_CHECKS])
    if len(worse) > _CHECKS:
        named = _("%(names)s and %(n)s more") % {"names": named, "n": len(worse) - _CHECKS}
    said = f": {named}" if worse else ""
    return f"{verdicts.word(str(fields.get('overall', ''))).text}{said}"


def _price_texts(
    old: Mapping[str, Any], new: Mapping[str, Any], types: Types
) -> tuple[str | None, str | None]:
    """Only the prices that differ."""
    before, after = _prices(old, types.before), _prices(new, types.after)
    moved = [
        index
        for index in range(max(len(before), len(after)))
        if before[index : index + 1] != after[index : index + 1]
    ]
    if not moved and types.after in UNBILLED:
        return None, _("only one that this type is not billed by")
    return (
        _joined(_price_text(before[i], len(before)) for i in moved if i < len(before)),
        _joined(_price_text(after[i], len(after)) for i in moved if i < len(after)),
    )


def _prices(fields: Mapping[str, Any], service_type: str) -> tuple[formats.Price, ...]:
    if "price_per_token" in fields:
        return (formats.training_price(integer(fields["price_per_token"])),)
    if "input_price" not in fields and "output_price" not in fields:
        return ()
    given, answered = integer(fields.get("input_price")), integer(fields.get("output_price"))
    return formats.prices(service_type, given, answered)


def _price_text(price: formats.Price, of: int) -> str:
    label = f"{formats.within(price.label)} " if of > 1 else ""
    return f"{label}{formats.amount(price.neuron)} 0G / {price.short_unit}"


def _summary(snapshot: Mapping[str, Any], service_type: str) -> str | None:
    """What a listing was when it came or went: its model and its prices."""
    models = snapshot.get("model_list")
    named = ", ".join(str(model) for model in models) if isinstance(models, list) else ""
    prices = _prices(snapshot, str(snapshot.get("service_type") or service_type))
    said = [name(str(snapshot.get("model") or named))]
    said += [_price_text(price, len(prices)) for price in prices]
    return _joined(part for part in said if part)


def _values(fields: Mapping[str, Any]) -> str | None:
    """The values alone where there is one field, the fields of an object by name."""
    return _joined(_value(key, value) for key, value in fields.items())


def _value(key: str, value: Any) -> str:
    if key == "stake":
        return f"{formats.amount(integer(value))} 0G"
    if isinstance(value, dict):
        pairs = (f"{str(k).replace('_', ' ')} {inner}" for k, inner in value.items())
        return formats.plain(" · ".join(pairs))
    if isinstance(value, list):
        return formats.plain(", ".join(str(inner) for inner in value))
    return formats.plain(str(value))


def _joined(parts: Any) -> str | None:
    return formats.clip(" · ".join(parts), TEXT_LENGTH) or None
