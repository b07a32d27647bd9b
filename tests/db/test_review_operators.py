"""What an attacker would try at the doors of operators and staff."""

from __future__ import annotations

import time

import pytest
from django.core.cache import cache
from django.test import Client

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from ops import staff
from tests import factories

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def limits_anew() -> None:
    cache.clear()


def member(client: Client, role: Role) -> User:
    user = User.objects.for_address(factories.address(f"review-{role}"))
    roles.give(user, role)
    client.force_login(user)
    session = client.session
    session["proved_at"] = int(time.time())
    session.save()
    return user


def test_the_admins_lists_answer_no_question_about_what_they_never_show(client: Client) -> None:
    """Django lets an address filter a list by any column of its table: letter by letter that would
    spell password hashes, sealed keys and people's words."""
    member(client, Role.AUDITOR)
    staff.create("root", PASSWORD, Role.ADMIN)
    for path in (
        "accounts/user/?password__startswith=pbkdf2",
        "accounts/user/?password__regex=.",
        "accounts/user/?sign_ins__session_key__startswith=a",
        "ops/passwordaccount/?recovery__contains=a",
        "ops/passwordaccount/?secret_sealed__gt=a",
        "accounts/signin/?session_key__startswith=a",
        "inference/chat/?medium__regex=.",
        "inference/chat/?owner__address__startswith=0x",
        "accounts/providerkey/?sealed__startswith=gAAAA",
        "moderation/act/?salt__startswith=a",
    ):
        answer = client.get(f"/admin/{path}")
        assert answer.status_code == 400, path
    for path in (
        "accounts/user/?is_active__exact=1",
        "accounts/user/?q=root",
        "inference/chat/?medium__exact=chat",
        "accounts/user/?groups__id__exact=1",
        "ledger/service/?removed__exact=0&kind=inference",
        "inference/chat/?o=1",
    ):
        assert client.get(f"/admin/{path}").status_code == 200, path
