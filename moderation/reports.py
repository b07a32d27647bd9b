"""Reports of users: what may be reported, how often, and one item of the queue for all who say the
same."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import limits
from accounts.errors import Problem
from accounts.models import User
from ledger import selectors as ledger
from ledger.models import Service
from moderation import above, audit, looking, selectors
from moderation.models import Category, Item, ItemKind, Outcome, Report
from moderation.subjects import Subject, SubjectKind

#: Reports in 24 hours: of one wallet, and from one network address.
PER_WALLET, PER_ADDRESS = 5, 20
#: So many reports that were none within 30 days pause the next for as long.
MOST_SPAM = 3
PAUSE = dt.timedelta(days=30)
SHORTEST, LONGEST = 20, 2_000
_DAY = dt.timedelta(days=1)
_LINK = re.compile(r"https?://[\x21-\x7e]{3,490}|[0-9]{1,18}")


@dataclass(frozen=True)
class Allowance:
    """How many reports a wallet has left today; `why` says what stands in the way."""

    left: int
    of: int = PER_WALLET
    why: str = ""


def allowance(
    user: User, now: dt.datetime | None = None, *, appeal: Subject | None = None
) -> Allowance:
    """What a wallet may still report (3 queries, 4 of an appeal). `appeal`: what of its own it is
    about; neither a block nor a pause keeps one away from what was decided: who is judged is heard.
    """
    now = now or timezone.now()
    judged = appeal is not None and selectors.is_decided(appeal, now)
    if not judged and selectors.is_blocked(user.address, now):
        return Allowance(0, why=_("Moderators have blocked this wallet from reporting."))
    spam = user.reports.filter(outcome=Outcome.SPAM, closed_at__gt=now - PAUSE).count()
    if spam >= MOST_SPAM and not judged:
        said = _(
            "%(count)s reports of this wallet in 30 days were none. It can report again later."
        )
        return Allowance(0, why=said % {"count": spam})
    used = user.reports.filter(at__gt=now - _DAY).count()
    left = max(0, PER_WALLET - used)
    return Allowance(
        left, why="" if left else _("%(count)s reports a day are the most.") % {"count": PER_WALLET}
    )


@dataclass(frozen=True)
class Wish:
    """A report as somebody typed it."""

    category: str
    text: str
    evidence: str = ""

    def checked(self, subject: Subject, user: User) -> Wish:
        """Itself, or Problem with what is missing."""
        if self.category not in categories(subject):
            raise Problem("no_category", _("Say what is wrong."))
        if self.category == Category.APPEAL and above.owner(subject) != user.address:
            raise Problem(
                "not_yours",
                _("Only its owner can appeal."),
                _("Sign in with the owner's wallet."),
            )
        text = self.text.replace("\x00", "").replace("\r\n", "\n").strip()
        if len(text) <= LONGEST:
            text = above.cleaned(subject, text)
        if not SHORTEST <= len(text) <= LONGEST:
            raise Problem(
                "wrong_length",
                _("Say it in %(least)s to %(most)s characters.")
                % {"least": SHORTEST, "most": f"{LONGEST:,}"},
            )
        evidence = above.cleaned(subject, self.evidence.strip()[:LONGEST])
        if evidence and not _LINK.fullmatch(evidence):
            raise Problem(
                "wrong_evidence", _("The evidence is a web address or the number of a message.")
            )
        return Wish(self.category, text, evidence)


_OF_SHARES = (
    Category.SECRETS, Category.ABUSE, Category.ILLEGAL, Category.HARM, Category.OTHER,
    Category.APPEAL,
)  # fmt: skip
_OF_LISTINGS = tuple(
    one for one in Category if one not in (Category.SECRETS, Category.ABUSE, Category.ILLEGAL)
)


def categories(subject: Subject) -> tuple[Category, ...]:
    """What can be wrong with such a thing."""
    return _OF_SHARES if subject.kind == SubjectKind.SHARE else _OF_LISTINGS


def known(subject: Subject, user: User | None = None) -> bool:
    """Whether there is such a thing to report (1 query; 2 for a model, 3 for a link). A link that
    staff ended is its owner's to appeal: the public log names it, and nobody else learns by that
    whether it is still there, or has staff read it again. Who is not signed in is asked to."""
    if subject.kind == SubjectKind.SHARE:
        if not selectors.ended([subject.key]):
            return above.lives(subject)
        return user is None or (above.lives(subject) and above.owner(subject) == user.address)
    if subject.kind == SubjectKind.MODEL:
        return ledger.matching(ledger.ServiceQuery(model=subject.key, everything=True)).exists()
    rows = Service.current.filter(provider=subject.address)
    if subject.kind == SubjectKind.SERVICE:
        return rows.filter(serving=subject.serving).exists()
    return subject.kind == SubjectKind.PROVIDER and rows.exists()


def submit(
    user: User,
    subject: Subject,
    wish: Wish,
    *,
    request: HttpRequest | None = None,
    now: dt.datetime | None = None,
) -> Report:
    """A report, joined to the open item of the queue about the same. Raises Problem."""
    now = now or timezone.now()
    if not known(subject, user):
        raise Problem("unknown_subject", _("Nothing of that name is listed here."), status=404)
    asked = wish.checked(subject, user)
    if request is not None:
        address = limits.address(request)
        limits.spend("reports", address, limit=PER_ADDRESS, seconds=24 * 3600)
    with transaction.atomic():
        audit.lock()
        # Behind the lock: of reports that come at once each sees the others.
        left = allowance(user, now, appeal=subject if asked.category == Category.APPEAL else None)
        if not left.left:
            raise Problem("no_more_reports", left.why, status=429)
        try:
            with transaction.atomic():
                report = Report.objects.create(
                    reporter=user,
                    subject_kind=subject.kind,
                    subject=subject.key,
                    category=asked.category,
                    text=asked.text,
                    evidence=asked.evidence,
                    at=now,
                )
        except IntegrityError:
            raise Problem(
                "reported_already",
                _("You reported this already, and it is still being looked at."),
                _("See it under your reports."),
                status=409,
            ) from None
        report.item = _item(report, now)
        report.save(update_fields=["item"])
        looking.weigh()
    return report


def _item(report: Report, now: dt.datetime) -> Item:
    """One item for all open reports of a category about a subject."""
    appeal = report.category == Category.APPEAL
    kind = ItemKind.APPEAL if appeal else ItemKind.REPORT
    waiting = Item.objects.filter(
        kind=kind,
        subject_kind=report.subject_kind,
        subject=report.subject,
        closed_at=None,
        about__category=report.category,
    ).first()
    return waiting or Item.objects.create(
        kind=kind,
        subject_kind=report.subject_kind,
        subject=report.subject,
        occurrence=f"report:{report.pk}",
        about={"category": report.category},
        opened_at=now,
    )
