"""Writes: decisions about listings, providers, models, users and links to shared conversations;
each is one act of the record.

Hiding a listing, ending a link and blocking a wallet from reporting take two persons, always: one
proposes, another one confirms within `PROPOSAL_FOR`. Whoever is alone can flag at once. Nothing
here reaches anybody's money: decisions are rows of this app, which the pages of money do not read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, QuerySet, Value, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import roles
from accounts.errors import Problem
from accounts.models import User
from accounts.roles import Role
from moderation import above, audit, fold, risk, selectors, state
from moderation.decisions import CLOSES, PUBLIC, Decision
from moderation.errors import Refused
from moderation.fold import Action, Held
from moderation.models import (
    PUBLIC_TEXT,
    REASON,
    Act,
    Anyway,
    Category,
    EffectKind,
    Item,
    ItemKind,
    Outcome,
    Report,
)
from moderation.selectors import label_word
from moderation.subjects import Subject

#: A proposal that nobody confirms ends by itself.
PROPOSAL_FOR = dt.timedelta(hours=72)
#: How long the page offers an undo, and others are not told.
UNDO_FOR = dt.timedelta(seconds=60)
#: Who decides; auditors read.
DECIDING = (Role.MODERATOR, Role.ADMIN)


def may_decide(user: User) -> bool:
    return not roles.of(user).isdisjoint(DECIDING)


# --- deciding -------------------------------------------------------------------------------------


def decide(
    actor: User,
    subject: Subject,
    decision: Decision,
    *,
    item: Item | None = None,
    request: HttpRequest | None = None,
    now: dt.datetime | None = None,
) -> Act:
    """One act of one person. Raises Problem, and Refused where the present state does not allow it.

    Hiding and blocking only begin here, as a proposal (`confirm`).
    """
    now = now or timezone.now()
    wanted = decision.checked(subject)
    action = wanted.action
    with transaction.atomic():
        audit.lock()
        actor = _require(actor)
        if action != Action.NOTE:
            _disinterested(actor, subject)
        label = label_word(wanted.label) if action in (Action.LABEL, Action.UNLABEL) else ""
        waits = action in fold.CONFIRMS.values()
        data: dict[str, object] = {"label": label} if label else {}
        if waits:
            data |= {"hours": wanted.hours, "item": item.pk if item else None}
        if wanted.outcome and action == Action.ANSWER:
            data |= {"outcome": wanted.outcome}
        holds = PROPOSAL_FOR if waits else None
        if action in fold.PUTS and wanted.hours and not waits:
            holds = dt.timedelta(hours=wanted.hours)
        if (sent := _sent_before(actor, subject, wanted, item, data, holds, now)) is not None:
            return sent
        _require_open(item)
        _require_living(action, subject)
        force = state.in_force(subject, now)
        _fits(action, force, label)
        _require_staffs(action, force)
        act = _append(
            actor,
            action,
            subject,
            wanted.reason,
            public_text=wanted.public_text,
            until=now + holds if holds else None,
            data=data,
            force=force,
            request=request,
            now=now,
        )
        if waits:
            _propose(act, subject, now)
        elif item is not None and action in CLOSES:
            _close([item], act, wanted, now)
    return act


def confirm(
    actor: User, number: int, *, request: HttpRequest | None = None, now: dt.datetime | None = None
) -> Act:
    """The second person's word: what was proposed holds from now on, exactly as proposed.

    Raises Refused for the proposer, and where the proposal ended or was answered.
    """
    now = now or timezone.now()
    with transaction.atomic():
        audit.lock()
        actor = _require(actor)
        proposal, force = _waiting(number, now)
        _disinterested(actor, proposal.about)
        if proposal.actor == audit.name_of(actor):
            raise Refused(
                "same_person",
                _("Two persons decide this."),
                _("Ask another moderator to confirm it."),
            )
        said = proposal.said
        hours = said.get("hours")
        action = next(a for a, p in fold.CONFIRMS.items() if p == proposal.action)
        _require_living(action, proposal.about)
        act = _append(
            actor,
            action,
            proposal.about,
            proposal.reason,
            public_text=proposal.public_text,
            until=now + dt.timedelta(hours=hours) if hours else None,
            data={"answers": proposal.number, "proposed_by": proposal.actor},
            force=force,
            request=request,
            now=now,
        )
        found = Item.objects.filter(pk=said.get("item") or 0, closed_at=None)
        decision = Decision(action, proposal.reason, proposal.public_text)
        _close([*found, *_items_of(proposal), *_settled(act)], act, decision, now)
    return act


def by_host(action: Action, subject: Subject, public_text: str, *, by: str, reason: str) -> Act:
    """End a link to a shared conversation, or open it again, from the machine's own shell (`by`:
    the command), where whoever decides answers for the whole site. Raises Refused."""
    now = timezone.now()
    text, reason = above.cleaned(subject, public_text), above.cleaned(subject, reason)
    with transaction.atomic():
        audit.lock()
        _require_living(action, subject)
        force = state.in_force(subject, now)
        _fits(action, force, "")
        act = _append(by, action, subject, reason, public_text=text, data={}, force=force, now=now)
        _close(_settled(act), act, Decision(action, reason, text), now)
    return act


def decline(actor: User, number: int, reason: str, *, request: HttpRequest | None = None) -> Act:
    """End a proposal without doing it; whoever made it may do so too. Raises Refused."""
    now = timezone.now()
    if len(reason.strip()) < 3:
        raise Problem("no_reason", _("A reason is missing."), _("Say why, for staff and auditors."))
    with transaction.atomic():
        audit.lock()
        actor = _require(actor)
        proposal, force = _waiting(number, now)
        _disinterested(actor, proposal.about)
        act = _append(
            actor,
            Action.DECLINE,
            proposal.about,
            above.cleaned(proposal.about, reason[:REASON]),
            data={"answers": proposal.number, "label": proposal.action.removeprefix("propose_")},
            force=force,
            request=request,
            now=now,
        )
        _items_of(proposal).update(closed_at=now, closed_by=act.number)
    return act


def undo(
    actor: User, number: int, *, request: HttpRequest | None = None, now: dt.datetime | None = None
) -> Act:
    """Take one's own act back, a moment after it; the act stays in the record. Raises Refused."""
    now = now or timezone.now()
    with transaction.atomic():
        audit.lock()
        actor = _require(actor)
        act = Act.objects.filter(pk=number, area=state.AREA, actor=audit.name_of(actor)).first()
        if act is None or act.action == Action.UNDO:
            raise Refused("not_yours", _("Only your own acts can be undone."))
        if now - act.at > UNDO_FOR:
            raise Refused("too_late", _("It is too late to undo this."), _("Decide anew instead."))
        later = Act.objects.filter(
            area=state.AREA, subject_kind=act.subject_kind, subject=act.subject, number__gt=number
        )
        if later.exclude(action=Action.NOTE).exists():
            raise Refused(
                "answered", _("Something was decided after it."), _("Decide anew instead.")
            )
        done = _append(
            actor,
            Action.UNDO,
            act.about,
            f"Undo of act {number}.",
            data={"answers": number},
            public=act.public,
            force=state.in_force(act.about, now),
            request=request,
            now=now,
        )
        _reopen(act)
    return done


def claim(actor: User, item: Item, *, release: bool = False) -> None:
    """Say who looks at an item; another one's claim can be taken over. Not an act: it decides
    nothing."""
    _require(actor)
    rows = Item.objects.filter(pk=item.pk, closed_at=None)
    if release:
        rows.filter(claimed_by=audit.name_of(actor)).update(claimed_by="", claimed_at=None)
    else:
        rows.update(claimed_by=audit.name_of(actor), claimed_at=timezone.now())


def ask_anyway(user: User, serving: str, provider: str) -> None:
    """The person read why a service is hidden and asks it all the same; until it is hidden anew."""
    now = timezone.now()
    rows = selectors.in_force(now).filter(kind=EffectKind.HIDDEN, provider=provider)
    for number in rows.filter(serving__in=("", serving)).values_list("number", flat=True):
        Anyway.objects.get_or_create(user=user, number=number, defaults={"at": now})


# --- parts ----------------------------------------------------------------------------------------


def _require(actor: User) -> User:
    """Them as they are now: the role may have been taken since they were let in. Raises Problem."""
    found = User.objects.filter(pk=actor.pk).first()
    if found is None or not may_decide(found):
        raise Problem("forbidden", roles.needed(*DECIDING), status=403)
    return found


def _disinterested(actor: User, subject: Subject) -> None:
    """Nobody judges what is their own, whatever their role; a note decides nothing."""
    if selectors.is_of(audit.name_of(actor), subject):
        raise Refused("own", _("This is about your own wallet."), _("Let a colleague decide it."))


def _require_living(action: Action, subject: Subject) -> None:
    """A link that ended by itself, or by its owner, is not ended by staff; one that can come back
    is."""
    if action in (Action.PROPOSE_END, Action.END, Action.END_BY_HOST) and not above.owner(subject):
        raise Refused("gone", _("This link has ended already."))


def _sent_before(
    actor: User,
    subject: Subject,
    wanted: Decision,
    item: Item | None,
    data: dict[str, object],
    holds: dt.timedelta | None,
    now: dt.datetime,
) -> Act | None:
    """The newest act about a subject where it is this very one, a moment ago: a form that was sent
    twice decides once, and its undo takes back all of it."""
    act = state.acts_of(subject).last()
    if act is None or now - act.at > UNDO_FOR:
        return None
    said = (audit.name_of(actor), wanted.action, wanted.reason, wanted.public_text, data, holds)
    held = act.until and act.until - act.at
    if (act.actor, act.action, act.reason, act.public_text, act.said, held) != said:
        return None
    if item is None or wanted.action not in CLOSES:
        return act
    return act if Item.objects.filter(pk=item.pk, closed_by=act.number).exists() else None


def _require_open(item: Item | None) -> None:
    """What was read still waits: nobody decided it, and its author says it still."""
    if item is None or Item.objects.filter(pk=item.pk, closed_at=None).exists():
        return
    decided = Item.objects.filter(pk=item.pk, closed_by__isnull=False).exists()
    if item.kind == ItemKind.WORDS and not decided:
        changed = _("The provider replaced or withdrew these words after you opened them.")
        raise Refused("changed", changed, _("Read what waits now."))
    raise Refused("closed", _("Somebody decided this meanwhile."), _("Open it anew."))


_LIFTED_BY = {
    Action.UNFLAG: N_("It is not flagged."),
    Action.UNLABEL: N_("It has no such label."),
    Action.UNHIDE: N_("It is not hidden."),
    Action.UNBLOCK: N_("It is not blocked."),
    Action.REOPEN: N_("It was not ended by staff."),
}


#: What is not decided once more while it holds.
_ONCE = (*fold.CONFIRMS, Action.END_BY_HOST)


def _fits(action: Action, force: dict[tuple[str, str], Held], label: str) -> None:
    if action in _LIFTED_BY:
        place = (fold.LIFTS[action], label if action == Action.UNLABEL else "")
        if place not in force:
            raise Refused("nothing_to_lift", _(_LIFTED_BY[action]))
    if action in fold.CONFIRMS.values():
        what = action.removeprefix("propose_")
        if ("proposed", what) in force:
            raise Refused(
                "proposed", _("This is proposed already."), _("A second person confirms it.")
            )
        action = Action(what)
    if action in _ONCE and (fold.PUTS[action], "") in force:
        raise Refused("holds_already", _("This holds already."))


def _require_staffs(action: Action, force: dict[tuple[str, str], Held]) -> None:
    held = force.get((fold.LIFTS[action], "")) if action in fold.LIFTS else None
    if held is not None and held.by_host:
        raise Refused(
            "hosts",
            _("The host of this site ended this link."),
            _("Only the host opens it again."),
        )


def _waiting(number: int, now: dt.datetime) -> tuple[Act, dict[tuple[str, str], Held]]:
    proposal = Act.objects.filter(
        pk=number, area=state.AREA, action__in=[a.value for a in fold.CONFIRMS.values()]
    ).first()
    if proposal is None:
        raise Refused("no_proposal", _("There is no such proposal."))
    force = state.in_force(proposal.about, now)
    held = force.get(("proposed", proposal.action.removeprefix("propose_")))
    if held is None or held.act.number != number:
        raise Refused(
            "answered", _("This proposal was answered, or it ended."), _("Propose it anew.")
        )
    return proposal, force


def _append(
    actor: User | str,
    action: Action,
    subject: Subject,
    reason: str,
    *,
    force: dict[tuple[str, str], Held],
    data: dict[str, object],
    now: dt.datetime,
    public_text: str = "",
    until: dt.datetime | None = None,
    public: bool | None = None,
    request: HttpRequest | None = None,
) -> Act:
    """Record the act and write what is in force after it."""
    before = state.named(force)
    after = state.named(state.after(subject, action, audit.name_of(actor), data, until, now))
    act = audit.record(
        actor,
        action.value,
        subject,
        area=state.AREA,
        reason=reason,
        before=before,
        after=after,
        public=action in PUBLIC if public is None else public,
        public_text=public_text,
        until=until,
        data=data,
        request=request,
        now=now,
    )
    state.refold(subject)
    return act


def _propose(act: Act, subject: Subject, now: dt.datetime) -> None:
    urgent = risk.of(ItemKind.PROPOSAL, held=0)
    Item.objects.create(
        kind=ItemKind.PROPOSAL,
        subject_kind=subject.kind,
        subject=subject.key,
        occurrence=f"proposal:{act.number}",
        about={"act": act.number, "action": act.action, "by": act.actor},
        opened_at=now,
        risk=urgent.points,
        why=list(urgent.why),
    )


def _items_of(proposal: Act) -> QuerySet[Item]:
    return Item.objects.filter(occurrence=f"proposal:{proposal.number}", closed_at=None)


def _settled(act: Act) -> QuerySet[Item]:
    """Whatever is reported about a link is settled once it has ended; an appeal is not."""
    about = Item.objects.filter(closed_at=None, subject_kind=act.subject_kind, subject=act.subject)
    ended = act.action in (Action.END, Action.END_BY_HOST)
    return about.filter(kind__in=(ItemKind.REPORT, ItemKind.PROPOSAL)) if ended else about.none()


def _close(items: Iterable[Item], act: Act, decision: Decision, now: dt.datetime) -> None:
    """Items that an act settled, and what the authors of their reports are told."""
    keys = [item.pk for item in items]
    Item.objects.filter(pk__in=keys, closed_at=None).update(closed_at=now, closed_by=act.number)
    upheld = decision.action in (Action.FLAG, Action.HIDE, Action.END, Action.END_BY_HOST)
    outcome = Outcome.UPHELD if upheld else Outcome.DECLINED
    appealed = Outcome.DECLINED  # to flag it all the same is not what an appeal asks for
    if decision.action == Action.ANSWER:
        outcome = appealed = Outcome(decision.outcome)
    Report.objects.filter(item__in=keys, closed_at=None).update(
        outcome=Case(When(category=Category.APPEAL, then=Value(appealed)), default=Value(outcome)),
        answer=decision.public_text[:PUBLIC_TEXT],
        closed_at=now,
    )


def _reopen(act: Act) -> None:
    """What an undone act had settled waits again."""
    items = list(Item.objects.filter(closed_by=act.number).values_list("pk", flat=True))
    Item.objects.filter(pk__in=items).update(closed_at=None, closed_by=None)
    # Whoever reported it anew meanwhile has one open report already.
    same = {name: OuterRef(name) for name in ("reporter", "subject_kind", "subject", "category")}
    anew = Report.objects.filter(closed_at=None, **same)
    Report.objects.filter(~Exists(anew), item__in=items, closed_at=act.at).update(
        outcome="", answer="", closed_at=None
    )
    if act.action in fold.CONFIRMS.values():
        Item.objects.filter(occurrence=f"proposal:{act.number}").update(closed_at=act.at)
