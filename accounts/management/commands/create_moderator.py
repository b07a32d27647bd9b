"""`manage.py create_moderator`: the first moderators of a site (interfaces.md 1)."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from accounts.roles import Role


class Command(BaseCommand):
    help = "Make a wallet a moderator; again makes no difference (the same as grant_role)."
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", help="the wallet's 0x-address; it need not have signed in")

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("grant_role", options["address"], Role.MODERATOR.value, stdout=self.stdout)
