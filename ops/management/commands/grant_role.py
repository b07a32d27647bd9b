"""`manage.py grant_role`: who moderates, runs or audits this site."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts import roles
from accounts.models import User
from accounts.roles import given
from ledger import selectors as ledger
from moderation import audit


class Command(BaseCommand):
    help = "Give a wallet a role (moderator, admin, auditor), or take it with --revoke."
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", help="the wallet's 0x-address; it need not have signed in")
        parser.add_argument("role", choices=roles.Role.values)
        parser.add_argument("--revoke", action="store_true", help="take the role away")

    def handle(self, *args: Any, **options: Any) -> None:
        address = ledger.address_of(options["address"])
        if address is None:
            raise CommandError(
                f"{options['address']!r} is not an address: 0x and 40 hex digits with the right "
                "checksum"
            )
        user = User.objects.for_address(address)
        role = roles.Role(options["role"])
        before = sorted(given(user))
        with transaction.atomic():
            (roles.take if options["revoke"] else roles.give)(user, role)
            after = sorted(given(user))
            if before != after:
                audit.record(
                    "manage.py",
                    "roles_changed",
                    ("user", address),
                    area="admin",
                    before={"roles": before},
                    after={"roles": after},
                )
        held = ", ".join(sorted(roles.of(user))) or "no role"
        # Who takes a role from a mistyped address has to read that nobody lost it.
        said = "now has" if before != after else "has, as before"
        self.stdout.write(f"{address} {said}: {held}")
