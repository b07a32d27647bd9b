"""`manage.py grant_role`: who moderates, runs or audits this site."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts import roles
from accounts.models import User
from accounts.roles import given
from moderation import audit
from protocol.addresses import checksum


class Command(BaseCommand):
    help = "Give a wallet a role (moderator, admin, auditor), or take it with --revoke."
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", help="the wallet's 0x-address; it need not have signed in")
        parser.add_argument("role", choices=roles.Role.values)
        parser.add_argument("--revoke", action="store_true", help="take the role away")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            address = checksum(options["address"])
        except ValueError as error:
            raise CommandError(f"{options['address']} is not an address") from error
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
        self.stdout.write(f"{address} now has: {held}")
