"""Forgetting a person: asked for and confirmed, due a day later, done category by category.

Each category goes in one transaction with the note that it is gone, so a worker that dies takes
nothing back and repeats little. The account itself goes last; what remains is a row of numbers.
"""

from __future__ import annotations

import datetime as dt
import logging

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import personal, roles, sessions
from accounts.errors import Problem
from accounts.models import Erasure, User
from accounts.roles import Role

log = logging.getLogger(__name__)

#: Between the wish and the deed: long enough to notice a wish that was not one's own.
WAIT = dt.timedelta(hours=24)
#: What has to be typed.
WORD = "ERASE"
SILENT = dt.timedelta(seconds=60)


def ask(user: User, typed: str, now: dt.datetime | None = None) -> Erasure:
    """Plan it; a wish that exists stays as it is. Raises Problem."""
    if typed.strip().upper() != WORD:
        title = _("Type %(word)s to confirm.") % {"word": WORD}
        raise Problem("not_confirmed", title, _("Nothing was planned."))
    now = now or timezone.now()
    with transaction.atomic():
        # One after the other: of two admins who ask at once the second must see the first.
        list(Group.objects.select_for_update().filter(name=Role.ADMIN.value))
        if _last_admin(user):
            raise Problem(
                "last_admin",
                _("You are the only admin left."),
                _("Give somebody else the role first: the site would have nobody to run it."),
                status=409,
            )
        row, _made = Erasure.objects.get_or_create(
            user=user, defaults={"asked_at": now, "due_at": now + WAIT}
        )
    return row


def undo(user: User) -> bool:
    """Take the wish back, as long as nothing was deleted; whether there was one."""
    return bool(Erasure.objects.filter(user=user, began_at=None).delete()[0])


def due(now: dt.datetime) -> QuerySet[Erasure]:
    """What has come, and what a worker left."""
    idle = Q(beat_at=None) | Q(beat_at__lt=now - SILENT)
    return Erasure.objects.filter(idle, due_at__lte=now, done_at=None)


def run(erasure_id: str, now: dt.datetime | None = None) -> bool:
    """Erase here and now what is due; whether everything is gone. Goes on where it was left."""
    now = now or timezone.now()
    with transaction.atomic():
        row = due(now).select_for_update().filter(pk=erasure_id).first()
        if row is None:
            return False
        user = row.user
        if row.began_at is None and user is not None:
            row.began_at, row.blocked = now, not user.is_active
        row.beat_at = now
        row.save(update_fields=["began_at", "beat_at", "blocked"])
    if user is None:  # an admin deleted the account meanwhile
        Erasure.objects.filter(pk=row.pk).update(done_at=timezone.now())
        return True
    # Nobody signs in, and no token or socket works, while rows are going.
    User.objects.filter(pk=user.pk).update(is_active=False)
    sessions.end_all(user)
    try:
        for category in personal.categories():
            _forget(row, user, category)
    except personal.NotYet as reason:
        log.info("erasing goes on later: %s", reason)
        Erasure.objects.filter(pk=row.pk).update(beat_at=None)
        return False
    with transaction.atomic():
        user.delete()
        if row.blocked:  # else a wish made in time would be the way out of every block
            User.objects.for_address(user.address)
            User.objects.filter(address=user.address).update(is_active=False)
        Erasure.objects.filter(pk=row.pk).update(done_at=timezone.now(), beat_at=None)
    return True


def _forget(row: Erasure, user: User, category: personal.Category) -> None:
    with transaction.atomic():
        gone = category.erase(user)
        # As it is by now: a worker that was only slow has counted, too.
        row = Erasure.objects.select_for_update().get(pk=row.pk)
        row.done[category.key] = row.done.get(category.key, 0) + gone
        row.beat_at = timezone.now()
        row.save(update_fields=["done", "beat_at"])


def _last_admin(user: User) -> bool:
    if Role.ADMIN not in roles.of(user):
        return False
    admins = Q(is_superuser=True) | Q(groups__name=Role.ADMIN.value)
    # Another who has asked to be forgotten, too, will be gone by then.
    others = User.objects.filter(admins, is_active=True, erasure=None)
    return not others.exclude(pk=user.pk).exists()
