"""`manage.py end_share LINK [--reopen] [--reason WORDS]`: take down a shared conversation."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference import shares
from moderation.errors import Refused
from moderation.fold import Action
from moderation.models import PUBLIC_TEXT
from moderation.phrases import ENDED


class Command(BaseCommand):
    help = "End the link to a shared conversation; the conversation itself stays its owner's."
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("link", help="the whole address, or what follows /shared/ in it")
        parser.add_argument(
            "--reopen", action="store_true", help="open again what staff or this command ended"
        )
        parser.add_argument(
            "--reason",
            default="",
            help="what whoever has the link, its owner and the public log are told",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        token = options["link"].split("?")[0].split("#")[0].rstrip("/").rpartition("/")[2]
        reopen = options["reopen"]
        reason = str(options["reason"]).strip() or ("" if reopen else ENDED)
        if len(reason) > PUBLIC_TEXT:
            raise CommandError(f"--reason takes {PUBLIC_TEXT} characters.")
        try:
            shares.by_host(Action.REOPEN if reopen else Action.END_BY_HOST, token, reason)
        except Refused:
            known = "nobody ended it" if reopen else "it has ended already"
            raise CommandError(f"No such link, or {known}.") from None
        self.stdout.write("The link opens again." if reopen else "The link has ended.")
