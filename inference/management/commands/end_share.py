"""`manage.py end_share LINK [--reason WORDS]`: take down a shared conversation."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference import shares
from moderation.errors import Refused
from moderation.models import PUBLIC_TEXT
from moderation.phrases import ENDED


class Command(BaseCommand):
    help = "End the link to a shared conversation; the conversation itself stays its owner's."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("link", help="the whole address, or what follows /shared/ in it")
        parser.add_argument(
            "--reason",
            default=ENDED,
            help="what whoever has the link, its owner and the public log are told",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        token = options["link"].split("?")[0].split("#")[0].rstrip("/").rpartition("/")[2]
        reason = str(options["reason"]).strip() or ENDED
        if len(reason) > PUBLIC_TEXT:
            raise CommandError(f"--reason takes {PUBLIC_TEXT} characters.")
        try:
            shares.end_by_host(token, reason)
        except Refused:
            raise CommandError("No such link, or it has ended already.") from None
        self.stdout.write("The link has ended.")
