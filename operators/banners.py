"""What needs an operator now, service by service, the gravest first (ux.md 11)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import links, money, trust
from attestation import selectors as attestation
from attestation.models import Fact
from attestation.selectors import FindingView, ServiceKey, StandingView
from chain.selectors import Freshness
from ledger import selectors as ledger
from ledger.records import Listing
from moderation.models import EffectKind
from moderation.selectors import Decided, Said
from moderation.subjects import Subject
from operators.wallets import FEW, Wallet
from probes.selectors import HealthView


@dataclass(frozen=True)
class Banner:
    """`kind` names it for tests and styles, `tone`: warn or bad; `action` leads to the remedy."""

    kind: str
    tone: str
    text: str
    action: str = ""
    path: str = ""


def of_index(head: Freshness) -> tuple[Banner, ...]:
    """The numbers on the page are not those of now."""
    if head.state == "fresh" and not head.catching_up:
        return ()
    if head.state == "never":
        text = _("The chain has not been read yet: nothing below is complete.")
    else:
        text = _(
            "Everything below is as of block %(block)s. Settlements since then are missing."
        ) % {"block": f"{head.indexed_block:,}"}
    return (Banner("stale", "warn", text, _("Status"), "/status"),)


def of_services(
    listings: Sequence[Listing],
    health: Mapping[ServiceKey, HealthView],
    standings: Mapping[ServiceKey, StandingView],
    findings: Iterable[FindingView],
    now: dt.datetime,
) -> tuple[Banner, ...]:
    """About listed services (1 query, 2 where a key failed); removed ones earn nothing and need
    nothing."""
    present = [one for one in listings if not one.removed]
    moved = ledger.moved_since_acknowledged(present)
    replaced = {view.service for view in findings if view.kind == Fact.SIGNER_DIFFERS}
    wrong = _wrong_keys(standings)
    found: list[Banner] = []
    for one in present:
        key, name = ServiceKey.of(one), one.service_name
        found += _offline(name, one, health[key], now)
        if key in wrong:
            found.append(_signer(name, one, onchain=wrong[key]))
        found += _acknowledged(name, one)
        if (one.serving, one.provider) in moved:
            found.append(_moved(name, one))
        if key in replaced:
            found.append(_replaced(name))
    return tuple(sorted(found, key=lambda banner: banner.tone != "bad"))


def of_decisions(
    listings: Iterable[Listing], decided: Mapping[tuple[str, str], Decided]
) -> tuple[Banner, ...]:
    """What moderators decided about listed services; once where it is about all of them."""
    found: dict[int, Banner] = {}
    for one in listings:
        holds = decided[one.serving, one.provider]
        for said in (holds.hidden, *holds.flags):
            if said is not None and not one.removed:
                found[said.number] = _decided(one, said)
    return tuple(sorted(found.values(), key=lambda banner: banner.tone != "bad"))


def _decided(one: Listing, said: Said) -> Banner:
    if said.kind == EffectKind.HIDDEN:
        text = _(
            "Moderators hid %(name)s: it has left lists and search. Users reach it by its address, "
            "and settlements go on. The reason: %(reason)s"
        )
    else:
        text = _("Moderators flagged %(name)s, and everybody reads why: %(reason)s")
    subject = Subject.service(one.serving, one.provider)
    tone = "bad" if said.kind == EffectKind.HIDDEN else "warn"
    filled = text % {"name": one.service_name, "reason": said.text}
    return Banner("decided", tone, filled, _("Appeal"), subject.report_path)


def of_wallet(
    listings: Iterable[Listing], wallet: Wallet | None, now: dt.datetime
) -> tuple[Banner, ...]:
    """Gas for settlements is about to end; said only while something is listed, and with its age:
    whoever has just sent some looks here first."""
    if wallet is None or wallet.settlements >= FEW or all(one.removed for one in listings):
        return ()
    said = {"has": money.short(wallet.balance), "age": trust.ago(now - wallet.at)}
    if not wallet.settlements:
        text = _(
            "Your wallet held %(has)s 0G %(age)s ago, which does not pay the gas of one "
            "settlement: what you served stays unpaid until you send 0G to it."
        )
        return (Banner("gas", "bad", text % said, _("Gas against revenue"), "/operator#gas"),)
    text = ngettext(
        "Your wallet held %(has)s 0G %(age)s ago: at the gas price of that moment this pays "
        "%(count)s settlement.",
        "Your wallet held %(has)s 0G %(age)s ago: at the gas price of that moment this pays "
        "%(count)s settlements.",
        wallet.settlements,
    ) % {**said, "count": wallet.settlements}
    return (Banner("gas", "warn", text, _("Gas against revenue"), "/operator#gas"),)


def _offline(name: str, one: Listing, health: HealthView, now: dt.datetime) -> list[Banner]:
    if health.state != "down":
        return []
    if health.since:
        text = _(
            "%(name)s has not answered our probes for %(age)s. Users and routers pass it by."
        ) % {"name": name, "age": trust.ago(now - health.since)}
    else:
        text = _("%(name)s has not answered our probes. Users and routers pass it by.") % {
            "name": name
        }
    return [
        Banner(
            "offline",
            "bad",
            text,
            _("What the probes saw"),
            links.service(one, "performance"),
        )
    ]


def _wrong_keys(standings: Mapping[ServiceKey, StandingView]) -> dict[ServiceKey, bool]:
    """Services whose evidence does not prove the key, and whether that is because the chain names
    another (1 query where one failed). An acknowledgement that the owner owes fails that question
    too and says nothing about the key; it has a banner of its own."""
    runs = {
        standing.verification_id: key
        for key, standing in standings.items()
        if standing.verification_id and standing.questions.get("key") == "fail"
    }
    rows = attestation.failed(runs) if runs else {}
    return {
        runs[run]: "bind.onchain" in failed
        for run, failed in rows.items()
        if any(row.startswith("bind.") and row != "bind.ack" for row in failed)
    }


def _signer(name: str, one: Listing, *, onchain: bool) -> Banner:
    if onchain:
        text = _(
            "The key in the evidence of %(name)s is not the signer on chain: its answers and "
            "settlements will be refused as soon as they are signed with it."
        )
    else:
        text = _(
            "The evidence of %(name)s does not prove that its machine holds the signer: users read "
            "that it failed."
        )
    filled = text % {"name": name}
    return Banner("signer", "bad", filled, _("The evidence"), links.service(one, "verification"))


def _replaced(name: str) -> Banner:
    text = _(
        "Users accepted an earlier signer of %(name)s. You can settle as before, but they read "
        "that it changed: tell them why."
    ) % {"name": name}
    return Banner("replaced", "warn", text, _("Notes"), "/operator/notes")


def _acknowledged(name: str, one: Listing) -> list[Banner]:
    if one.tee_signer_acknowledged:
        return []
    text = _(
        "The owner of %(name)s has not acknowledged your signer: every settlement is refused "
        "until then, and you earn nothing."
    ) % {"name": name}
    return [
        Banner("unacknowledged", "bad", text, _("What to do"), "/docs/operators#not-acknowledged")
    ]


def _moved(name: str, one: Listing) -> Banner:
    text = _(
        "The URL of %(name)s changed after the owner acknowledged it. You can settle as before, "
        "but users see a warning until the owner acknowledges again."
    ) % {"name": name}
    return Banner("moved", "warn", text, _("Changes"), links.service(one, "changes"))
