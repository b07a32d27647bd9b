"""What somebody may do on this site beyond their own account: moderator, admin, auditor.

A role is a Django group of the same name, given to a wallet (or to a password account of `/admin/`)
by `manage.py grant_role` or by an admin. Roles say nothing about money: nobody's role reaches the
funds of somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.models import AnonymousUser, Group
from django.core.exceptions import PermissionDenied
from django.db import connection, models, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.models import User


class Role(models.TextChoices):
    """moderator decides about listings and reports; admin also changes roles and runs the site;
    auditor reads what both did and changes nothing."""

    MODERATOR = "moderator", gettext_noop("Moderator")
    ADMIN = "admin", gettext_noop("Admin")
    AUDITOR = "auditor", gettext_noop("Auditor")


NOBODY: frozenset[Role] = frozenset()
#: Who sees `/ops` and `/admin/`; only an admin changes something there.
STAFF = frozenset({Role.ADMIN, Role.AUDITOR})
_ATTRIBUTE = "_site_roles"
P = ParamSpec("P")


def of(user: User | AnonymousUser) -> frozenset[Role]:
    """The roles of a visitor; a superuser has all (one query per user object, then remembered)."""
    if not isinstance(user, User) or not user.is_active:
        return NOBODY
    known: frozenset[Role] | None = getattr(user, _ATTRIBUTE, None)
    if known is None:
        known = frozenset(Role) if user.is_superuser else given(user)
        setattr(user, _ATTRIBUTE, known)
    return known


def given(user: User) -> frozenset[Role]:
    """The roles that somebody was given, as they are now; a superuser has more (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_GIVEN, [user.pk])
        names = {name for (name,) in cursor.fetchall()}
    return frozenset(role for role in Role if role in names)


# Every page of whoever is signed in asks: Django takes ten times longer to write this.
_GIVEN = """
SELECT name FROM auth_group JOIN accounts_user_groups AS of_user ON of_user.group_id = auth_group.id
WHERE of_user.user_id = %s
"""


class RoleNeeded(PermissionDenied):
    """Only staff may, and this visitor is none: another sign-in opens it."""


def require(
    *wanted: Role,
) -> Callable[
    [Callable[Concatenate[HttpRequest, P], HttpResponse]],
    Callable[Concatenate[HttpRequest, P], HttpResponse],
]:
    """Let a view answer only those who hold one of the roles; 403 for everybody else."""

    def decorate(
        view: Callable[Concatenate[HttpRequest, P], HttpResponse],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if of(request.user).isdisjoint(wanted):
                raise RoleNeeded(needed(*wanted))
            return view(request, *args, **kwargs)

        update_wrapper(guarded, view)
        return guarded

    return decorate


_NAMES = {
    Role.MODERATOR: gettext_noop("moderator"),
    Role.ADMIN: gettext_noop("admin"),
    Role.AUDITOR: gettext_noop("auditor"),
}


def needed(*wanted: Role) -> str:
    """Why the door is closed, as a sentence."""
    *rest, last = (_(_NAMES[role]) for role in wanted)
    words = _(" or ").join([", ".join(rest), last] if rest else [last])
    return _("This needs the role of %(words)s. Sign in with a wallet that has it.") % {
        "words": words
    }


def give(user: User, role: Role) -> None:
    with transaction.atomic():
        user.groups.add(Group.objects.get_or_create(name=role.value)[0])
    _forget(user)


def take(user: User, role: Role) -> None:
    user.groups.remove(*Group.objects.filter(name=role.value))
    _forget(user)


def _forget(user: Any) -> None:
    user.__dict__.pop(_ATTRIBUTE, None)
