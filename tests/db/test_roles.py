"""Roles: who has which, and the door that asks for one."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries

from accounts import roles
from accounts.models import User
from accounts.roles import Role

pytestmark = pytest.mark.django_db
ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@roles.require(Role.MODERATOR, Role.ADMIN)
def decide(request: HttpRequest) -> HttpResponse:
    return HttpResponse("decided")


def test_a_role_opens_its_door_only(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    request = RequestFactory().get("/")
    for visitor in (AnonymousUser(), User.objects.for_address(ADDRESS)):
        request.user = visitor
        with pytest.raises(PermissionDenied, match="role of moderator or admin"):
            decide(request)
    user = User.objects.get(address=ADDRESS)
    roles.give(user, Role.AUDITOR)
    assert roles.of(user) == {Role.AUDITOR}
    roles.give(user, Role.MODERATOR)
    request.user = User.objects.get(address=ADDRESS)
    with django_assert_num_queries(1):
        assert decide(request).content == decide(request).content == b"decided"
    user.is_active = False
    assert roles.of(user) == roles.NOBODY


def test_a_door_names_the_roles_as_a_list() -> None:
    assert "role of moderator, admin or auditor." in roles.needed(*Role)


def test_the_command_gives_and_takes() -> None:
    said = StringIO()
    call_command("create_moderator", ADDRESS.lower(), stdout=said)
    call_command("grant_role", ADDRESS, "admin", stdout=said)
    call_command("grant_role", ADDRESS, "moderator", "--revoke", stdout=said)
    call_command("grant_role", ADDRESS, "moderator", "--revoke", stdout=said)
    assert said.getvalue().splitlines() == [
        f"{ADDRESS} now has: moderator",
        f"{ADDRESS} now has: admin, moderator",
        f"{ADDRESS} now has: admin",
        f"{ADDRESS} has, as before: admin",
    ]
    mistyped = ADDRESS[:-1] + ("0" if ADDRESS[-1] != "0" else "1")
    for wrong in ("0x12", mistyped):
        with pytest.raises(CommandError, match="not an address"):
            call_command("grant_role", wrong, "admin", "--revoke")
    assert list(User.objects.values_list("address", flat=True)) == [ADDRESS]


def test_a_superuser_has_every_role() -> None:
    user = User.objects.for_address(ADDRESS)
    user.is_superuser = True
    assert roles.of(user) == set(Role)
