"""`manage.py create_staff NAME`: password accounts of staff without a wallet."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.roles import Role
from moderation import audit
from ops import staff
from ops.models import PasswordAccount


class Command(BaseCommand):
    help = (
        "Make a password account for staff without a wallet (or give an existing one a new "
        "password). Asks for the password, or reads one line of standard input. The first sign-in "
        "at /ops/sign-in enrols an authenticator app. For wallets use grant_role instead."
    )
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what is typed at the sign-in")
        parser.add_argument("--role", choices=Role.values, help="default: admin")
        parser.add_argument("--superuser", action="store_true", help="every role, for good")
        parser.add_argument(
            "--new-authenticator",
            action="store_true",
            help="the phone is lost: the next sign-in enrols another (the password stays)",
        )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        """With its record, or not at all."""
        name = options["name"].strip().lower()
        account = PasswordAccount.objects.select_related("user").filter(name=name).first()
        if options["new_authenticator"]:
            if account is None:
                raise CommandError(f"there is no account {name}")
            staff.forget_authenticator(account)
            _record("authenticator_forgotten", name)
            self.stdout.write(f"{name}: the next sign-in enrols a new authenticator")
            return
        if account is not None and (options["role"] or options["superuser"]):
            raise CommandError(
                f"{name} exists already; its role is changed by grant_role {account.user.address} "
                "ROLE, or under Users in /admin/. Without --role it gets a new password"
            )
        password = _password()
        try:
            if account is not None:
                staff.change_password(account, password)
                _record("password_changed", name)
                self.stdout.write(f"{name} has a new password; its sessions ended")
                return
            role = Role(options["role"]) if options["role"] else Role.ADMIN
            user = staff.create(
                name,
                password,
                None if options["superuser"] else role,
                superuser=options["superuser"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        _record("account_made", name, "superuser" if options["superuser"] else str(role))
        what = "superuser" if options["superuser"] else str(role)
        self.stdout.write(f"{name} ({what}) is {user.address}; sign in at /ops/sign-in")


def _record(action: str, name: str, role: str = "") -> None:
    after = {"role": role} if role else None
    audit.record("manage.py", action, ("account", name), area="admin", after=after)


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Password (again): ") != first:
        raise CommandError("the two are not the same")
    return first
