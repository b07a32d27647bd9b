"""What holds about a subject: the fold of its acts, and the rows that keep it for lists."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from django.db.models import QuerySet

from moderation import fold
from moderation.fold import Done, Held
from moderation.models import Act, Effect
from moderation.subjects import Subject

AREA = "moderation"


def in_force(subject: Subject, now: dt.datetime) -> dict[tuple[str, str], Held]:
    """What holds about a subject at a moment, from its acts (1 query)."""
    return holding(done(acts_of(subject)), now)


def holding(acts: Iterable[Done], now: dt.datetime) -> dict[tuple[str, str], Held]:
    """What these acts put into force and did not end by then."""
    return {
        place: held
        for place, held in fold.fold(acts).items()
        if held.act.until is None or held.act.until > now
    }


def named(force: dict[tuple[str, str], Held]) -> list[str]:
    """What is in force, in words for the record."""
    return sorted(" ".join(filter(None, place)) for place in force)


def after(
    subject: Subject,
    action: fold.Action,
    actor: str,
    data: dict[str, object],
    until: dt.datetime | None,
    now: dt.datetime,
) -> dict[tuple[str, str], Held]:
    """What will be in force once an act is appended."""
    answers = data.get("answers")
    new = Done(
        number=2**62,
        at=now,
        action=action.value,
        actor=actor,
        label=str(data.get("label", "")),
        answers=answers if isinstance(answers, int) else 0,
        until=until,
    )
    return holding([*done(acts_of(subject)), new], now)


def done(acts: Iterable[Act]) -> Iterator[Done]:
    """Acts as the fold reads them."""
    for act in acts:
        said = act.said
        yield Done(
            number=act.number,
            at=act.at,
            action=act.action,
            actor=act.actor,
            label=str(said.get("label", "")),
            answers=int(said.get("answers", 0)),
            until=act.until,
            public_text=act.public_text,
        )


def acts_of(subject: Subject) -> QuerySet[Act]:
    """What was done about a subject, oldest first, private words and all."""
    rows = Act.objects.filter(area=AREA, subject_kind=subject.kind, subject=subject.key)
    return rows.order_by("number")


def refold(subject: Subject) -> None:
    """Write what the acts of a subject put into force (3 queries)."""
    Effect.objects.filter(subject_kind=subject.kind, subject=subject.key).delete()
    Effect.objects.bulk_create(_effects(subject, fold.fold(done(acts_of(subject)))))


def _effects(subject: Subject, force: dict[tuple[str, str], Held]) -> list[Effect]:
    return [
        Effect(
            subject_kind=subject.kind,
            subject=subject.key,
            serving=subject.serving,
            provider=subject.address,
            kind=held.kind,
            label=held.label,
            number=held.act.number,
            at=held.act.at,
            until=held.act.until,
            actor=held.act.actor,
            public_text=held.act.public_text,
        )
        for held in force.values()
    ]


def stale_effects() -> list[Subject]:
    """Subjects whose rows differ from the fold of their acts: none, unless somebody wrote past
    this module (2 queries)."""
    acts: dict[Subject, list[Act]] = {}
    for act in Act.objects.filter(area=AREA).order_by("number"):
        acts.setdefault(act.about, []).append(act)
    stored: dict[Subject, set[tuple[object, ...]]] = {}
    for effect in Effect.objects.all():
        stored.setdefault(effect.about, set()).add(_compared(effect))
    wrong = [subject for subject in stored if subject not in acts]
    for subject, rows in acts.items():
        made = {_compared(effect) for effect in _effects(subject, fold.fold(done(rows)))}
        if made != stored.get(subject, set()):
            wrong.append(subject)
    return wrong


def _compared(effect: Effect) -> tuple[object, ...]:
    names = ("serving", "provider", "kind", "label", "number", "at", "until", "actor")
    return (*(getattr(effect, name) for name in names), effect.public_text)
