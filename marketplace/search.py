"""What a visitor means by a word or a number: pages, documentation, models, services; an address,
a transaction, a report or a task leads straight to its page.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from accounts import links as account_links
from accounts.addresses import short
from accounts.models import User
from attestation.models import Verification
from finetune.models import Task
from ledger import groups as grouped
from ledger import selectors
from ledger.listed import rows as listed_rows
from ledger.models import Ledger, Service, SubAccount
from ledger.records import Listing
from marketplace import docs_search, links, names, parts
from marketplace.ranking import count_of

#: Characters of a question that are read; results shown of each sort.
LENGTH, SHOWN = 200, 5

_HASH = re.compile(r"0[xX][0-9a-fA-F]{64}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
#: At least four digits: fewer are a word like any.
_FIRST = re.compile(r"0[xX][0-9a-fA-F]{4,39}", re.ASCII)

Pages = tuple[tuple[str, str, str], ...]
#: Our own pages, with words by which people also look for them.
PAGES: Pages = (
    (gettext_noop("Services"), "/", "listings catalogue marketplace home"),
    (gettext_noop("Models"), "/models", "llm"),
    (gettext_noop("Providers"), "/providers", "operators hosts"),
    (gettext_noop("Changes"), "/changes", "history feed atom prices news"),
    (gettext_noop("Network"), "/network", "statistics totals numbers contracts"),
    (gettext_noop("Compare"), "/compare", "side by side"),
    (gettext_noop("Chat"), "/playground/chat", "playground ask prompt llm"),
    (gettext_noop("Images"), "/playground/images", "playground pictures draw text to image"),
    (
        gettext_noop("Speech"),
        "/playground/audio",
        "playground audio transcribe recording speech to text",
    ),
    (gettext_noop("Embeddings"), "/playground/embeddings", "playground vectors similarity"),
    (gettext_noop("Fine-tuning"), "/fine-tuning", "train tasks fine-tune finetune finetuning"),
    (gettext_noop("Funds"), "/account", "balance deposit withdraw wallet money"),
    (gettext_noop("Refunds"), "/account/refunds", "retrieve collect unlock"),
    (gettext_noop("Transactions"), "/account/transactions", "history payments"),
    (gettext_noop("Keys and tokens"), "/account/keys", "api key secret"),
    (gettext_noop("Alerts"), "/account/alerts", "notifications rules webhook email"),
    (gettext_noop("Inbox"), "/account/inbox", "notifications messages unread bell"),
    (gettext_noop("Requests"), "/playground/requests", "log history calls answers export"),
    (gettext_noop("Analytics"), "/account/analytics", "spending usage costs statistics"),
    (gettext_noop("Your data"), "/account/data", "privacy export erase delete gdpr"),
    (gettext_noop("For operators"), "/operator", "earnings settlements customers run provider"),
    (gettext_noop("Your listing"), "/operator/listing", "register service price remove operator"),
    (gettext_noop("Verify"), "/verify", "evidence attestation report signature"),
    (
        gettext_noop("Status"),
        "/status",
        "index health node lag incident maintenance uptime version",
    ),
    (gettext_noop("API"), "/api/docs", "json openapi programs"),
    (gettext_noop("Data"), "/data", "dump csv export download research tables"),
    (
        gettext_noop("Decisions of moderators"),
        "/moderation/log",
        "hidden flagged labels appeal transparency",
    ),
    (gettext_noop("Your reports"), "/account/reports", "report problem abuse"),
    (gettext_noop("Style guide"), "/styleguide", "design"),
)
#: Those that open for whoever hosts the site alone.
STAFF_PAGES: Pages = (
    (gettext_noop("Operations"), "/ops", "health queue tasks failures storage commands"),
    (gettext_noop("Announcements"), "/ops/announcements", "incident maintenance banner status"),
)


@dataclass(frozen=True)
class Target:
    """A place to go. `note` says what it is."""

    label: str
    path: str
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Places of one sort; `more` leads to all of them where some are not shown."""

    title: str
    targets: tuple[Target, ...]
    more: str = ""
    count: int = 0


@dataclass(frozen=True)
class Found:
    """`direct`: the one page that is meant. `hint` explains a question that nothing answers."""

    q: str
    direct: str = ""
    groups: tuple[Group, ...] = ()
    hint: str = ""

    @property
    def count(self) -> int:
        return sum(len(group.targets) for group in self.groups)


def clean(text: str) -> str:
    return text.replace("\x00", "").strip()[:LENGTH]


def find(text: str, user: User | None = None, *, staff: bool = False) -> Found:
    """Everything a question leads to (at most 10 queries). `user`: also what is theirs alone,
    `staff`: also pages for them alone."""
    q = clean(text)
    if not q:
        own = tuple(Target(_(label), path) for label, path, also in PAGES[:6] if links.exists(path))
        return Found("", groups=(Group(_("Pages"), own),))
    # A relay's name of one service is MODEL@ADDRESS.
    address = selectors.address_of(q) or selectors.address_of(q.rpartition("@")[2])
    if address is not None:
        return _address(q, address)
    if q[:2] in ("0x", "0X") and len(q) == 42:
        return Found(q, hint=_("This address is mistyped: its checksum does not fit."))
    if _HASH.fullmatch(q):
        path = f"/tx/{q.lower()}"
        return Found(q, path, (_one(_("Transaction"), q.lower(), path),))
    if _UUID.fullmatch(q):
        return _number(q, uuid.UUID(q), user)
    return _part(q) or _words(q, PAGES + STAFF_PAGES if staff else PAGES)


def _one(title: str, label: str, path: str) -> Group:
    return Group(title, (Target(label, path),), count=1)


def _address(q: str, address: str) -> Found:
    """A provider's page where it ever listed something, else the account's, if nobody names the
    address as signer: whoever lists can name any."""
    listed = selectors.services_of(address, include_removed=True)
    signs = _signer(Q(tee_signer=address))
    account = links.account_path(address)
    groups = []
    if listed:
        groups.append(_one(_("Provider"), address, links.provider_path(address)))
        shown = tuple(
            Target(
                parts.service_title(one),
                account_links.service(one),
                _("%(type)s, removed") % {"type": parts.service_type_label(one)}
                if one.removed
                else parts.service_type_label(one),
            )
            for one in listed[:SHOWN]
        )
        groups.append(Group(_("Services"), shown, count=len(listed)))
    groups += [signs] if signs.targets else []
    groups.append(_one(_("Account"), address, account))
    direct = links.provider_path(address) if listed else "" if signs.targets else account
    return Found(q, direct, tuple(groups))


def _signer(where: Q) -> Group:
    """Services that name such a signer (2 queries, 3 where there are many): first where
    the contract's owner acknowledged it, as anybody can name somebody else's, in many listings."""
    rows = listed_rows().filter(where).defer("search")
    rows = rows.order_by("-tee_signer_acknowledged", "created_block", "pk")
    known = selectors.contracts()
    shown = tuple(_service(Listing.of(row, known)) for row in rows[:SHOWN])
    count = rows.count() if len(shown) == SHOWN else len(shown)
    return Group(_("Named as signer by"), shown, count=count)


def _service(one: Listing) -> Target:
    note = f"{parts.service_type_label(one)}, {short(one.provider)}"
    return Target(parts.service_title(one), account_links.service(one), note)


def _part(q: str) -> Found | None:
    """Whose address it can be that somebody gives the first digits of, or as pages shorten it (4
    queries): a list, also of one, because another address can be made to look alike. None for
    other texts, and where there is nobody."""
    part = f"{q}…" if _FIRST.fullmatch(q) else q
    by = {name: selectors.shortened(name, part) for name in ("provider", "tee_signer", "user")}

    def group(title: str, rows: QuerySet[Any], name: str, path: Callable[[str], str]) -> Group:
        known = rows.filter(by[name]).order_by(name).values_list(name, flat=True).distinct()
        targets = tuple(Target(address, path(address)) for address in known[:SHOWN])
        count = known.count() if len(targets) == SHOWN else len(targets)
        listed = name == "provider" and count > SHOWN
        more = links.with_query("/providers", q=part) if listed else ""
        return Group(title, targets, more, count)

    if not by["tee_signer"]:
        return None
    groups = (
        group(_("Providers"), Service.current.all(), "provider", links.provider_path),
        _signer(by["tee_signer"]),
        group(_("Accounts"), Ledger.current.filter(exists=True), "user", links.account_path),
    )
    found = tuple(group for group in groups if group.targets)
    return Found(q, groups=found) if found else None


def _number(q: str, number: uuid.UUID, user: User | None) -> Found:
    """A report of ours, a fine-tuning task of one's own, or one that some contract knows: whether
    its owner uses this site is nobody else's."""
    path = f"/verifications/{number}"
    if Verification.objects.filter(pk=number).exists():
        return Found(q, path, (_one(_("Verification report"), str(number), path),))
    own = Task.objects.filter(user=user) if user is not None else Task.objects.none()
    task = own.filter(Q(pk=number) | Q(remote_id=number)).only("pk").first()
    held = SubAccount.current.filter(deliverables__contains=[{"id": str(number)}]).first()
    if task is not None:
        path = f"/fine-tuning/tasks/{task.pk}"
        return Found(q, path, (_one(_("Fine-tuning task"), str(number), path),))
    if held is not None:
        provider = links.provider_path(held.provider)
        return Found(q, provider, (_one(_("Provider of this task"), held.provider, provider),))
    return Found(q, hint=_("No report and no fine-tuning task has this number."))


def _words(q: str, pages: Pages) -> Found:
    words = q.lower().split()[:8]
    version = selectors.listings_version()
    named = names.known_as(q)
    query = selectors.ServiceQuery(q=q, known_as=named)
    services = selectors.services(query, page_size=SHOWN, count=count_of(query, version))
    models = grouped.models(query, page_size=SHOWN)
    groups = (
        _providers(names.all_in(named)),
        Group(
            _("Models"),
            tuple(
                Target(parts.name(row.model), links.model_path(row.model), _offers(row.providers))
                for row in models.items
                if links.model_path(row.model)
            ),
            links.with_query("/models", q=q) if models.count > SHOWN else "",
            models.count,
        ),
        Group(
            _("Services"),
            tuple(_service(one) for one in services.items),
            links.with_query("/", q=q) if services.count else "",
            services.count,
        ),
        _named(_("Pages"), _own(words, pages)),
        _documents(q),
    )
    return Found(q, groups=tuple(group for group in groups if group.targets))


def _providers(addresses: list[str]) -> Group:
    """Those that call themselves so (1 query where there are any)."""
    shown = addresses[:SHOWN]
    known = names.names_of(shown) if shown else {}
    targets = tuple(
        Target(
            known[address].name,
            links.provider_path(address),
            _("%(domain)s vouches for %(address)s")
            % {"domain": known[address].domain, "address": short(address)}
            if known[address].domain
            else _("self-declared name of %(address)s") % {"address": short(address)},
        )
        for address in shown
        if address in known
    )
    return Group(_("Providers"), targets, count=len(addresses))


def _offers(providers: int) -> str:
    return ngettext("%(n)s provider", "%(n)s providers", providers) % {"n": providers}


def _named(title: str, found: Iterable[Target]) -> Group:
    targets = tuple(found)
    return Group(title, targets[:SHOWN], count=len(targets))


def _own(words: list[str], pages: Pages) -> Iterable[Target]:
    for label, path, also in pages:
        if _all_in(words, f"{label} {_(label)} {also}".lower()) and links.exists(path):
            yield Target(_(label), path)


def _documents(q: str) -> Group:
    """Passages of the documentation that hold every word."""
    results, every = docs_search.find(q)
    targets = tuple(
        Target(one.heading or one.title, one.path, one.title if one.heading else "")
        for one in results[: SHOWN if every else 0]
    )
    more = links.with_query("/docs", q=q) if every and len(results) > SHOWN else ""
    return Group(_("Documentation"), targets, more, len(results) if every else 0)


def _all_in(words: list[str], text: str) -> bool:
    return all(word in text for word in words)
