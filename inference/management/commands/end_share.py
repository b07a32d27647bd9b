"""`manage.py end_share`: take down a shared conversation, whoever shared it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference import shares


class Command(BaseCommand):
    help = "End the link to a shared conversation; the conversation itself stays its owner's."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("link", help="the whole address, or what follows /shared/ in it")

    def handle(self, *args: Any, **options: Any) -> None:
        token = options["link"].split("?")[0].split("#")[0].rstrip("/").rpartition("/")[2]
        if not shares.end_by_token(token):
            raise CommandError("No such link, or it has ended already.")
        self.stdout.write("The link has ended.")
